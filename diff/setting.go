package diff

import "fmt"

// Setting is something that a caller of the library gives: a part of the stack, or an
// option.
type Setting uint8

// The settings that a [SettingError] can be about.
const (
	_                Setting = iota
	SettingUpper             // [Stack.Upper]
	SettingWork              // [Stack.Work]
	SettingUserXattr         // [Features.UserXattr]
	SettingTempDir           // the directory for temporary files
)

var settingNames = [...]string{SettingUpper: "upper", SettingWork: "work", SettingUserXattr: "userxattr", SettingTempDir: "tempdir"}

func (s Setting) String() string {
	if s == 0 || int(s) >= len(settingNames) {
		return fmt.Sprintf("Setting(%d)", uint8(s))
	}
	return settingNames[s]
}

// SettingError is an error that a setting can mend. Its text says so in words, at its end;
// a program adds how that is set there.
type SettingError struct {
	Setting Setting
	Err     error
}

func (e *SettingError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *SettingError) Unwrap() error { return e.Err }
