//go:build linux

package mountutil

import (
	"errors"
	"io/fs"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Param is the value of a switch among the overlay module's parameters.
type Param uint8

// The values of a parameter.
const (
	Absent Param = iota // the kernel doesn't have the feature, or overlay is not loaded
	Off
	On
)

// String returns "absent", "off" or "on".
func (p Param) String() string {
	switch p {
	case Off:
		return "off"
	case On:
		return "on"
	default:
		return "absent"
	}
}

// Defaults are the overlay module's parameters: what holds where an option is
// not given. The zero value means that the module is not loaded.
type Defaults struct {
	RedirectDir          Param // Linux 4.10
	RedirectAlwaysFollow Param // Linux 4.15
	Index                Param // Linux 4.13
	NFSExport            Param // Linux 4.16
	XinoAuto             Param // Linux 4.17
	Metacopy             Param // Linux 4.19
}

// KernelDefaults reads the parameters of the running kernel's overlay module.
// What is not there, or can't be read for want of permission, is [Absent]. What can't be
// read for another reason is there: Off, so that a view is mounted with the option.
func KernelDefaults() Defaults {
	return readDefaults(func(name string) (string, error) { return sys.ReadValue("/sys/module/overlay/parameters/" + name) })
}

func readDefaults(value func(name string) (string, error)) Defaults {
	read := func(name string) Param {
		word, err := value(name)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			return Absent
		case err != nil:
			return Off
		}
		if word == "Y" || word == "1" {
			return On
		}
		return Off
	}
	return Defaults{
		RedirectDir:          read("redirect_dir"),
		RedirectAlwaysFollow: read("redirect_always_follow"),
		Index:                read("index"),
		NFSExport:            read("nfs_export"),
		XinoAuto:             read("xino_auto"),
		Metacopy:             read("metacopy"),
	}
}

// Stack describes the overlay that mounting with these options makes, on a
// kernel with these defaults. It applies the rules of ovl_fs_params_verify
// (Linux 6.18), in its order; for combinations that the kernel refuses, which
// [StackOfOptions] finds, the outcome says nothing. What the kernel turns off
// because a file system can't do it is not foreseen: the mount table shows it.
func (o Options) Stack(d Defaults) diff.Stack {
	s := diff.Stack{Lower: o.Lower, Data: o.Data, Upper: o.Upper, Work: o.Work, Unknown: o.Unknown}
	on := func(option string, p Param) bool { return option == "on" || option == "" && p == On }

	create := on(o.RedirectDir, d.RedirectDir)
	follow := o.follows(d)
	if s.Upper == "" {
		s.Work = ""
		create = follow
	}
	metacopy := on(o.Metacopy, d.Metacopy)
	if metacopy && !create {
		metacopy = o.RedirectDir == "" // the module's default yields to the explicit option
		follow = follow || metacopy
	}
	index := s.Upper != "" && on(o.Index, d.Index)
	export := on(o.NFSExport, d.NFSExport)
	if export && !index {
		export = o.Index != "off" && (s.Upper != "" || !follow)
		index = export && s.Upper != ""
	}
	if export && metacopy {
		metacopy = o.Metacopy == "on"
		export = !metacopy
	}
	verity, _ := diff.ParseVerity(o.Verity) // the parser let nothing else in
	s.Features = diff.Features{
		UserXattr:      o.UserXattr,
		RedirectFollow: follow && !o.UserXattr,
		Metacopy:       metacopy && !o.UserXattr,
		Index:          index,
		NFSExport:      export,
		UUIDOff:        o.UUID == "off",
		Verity:         verity,
	}
	return s
}

// follows reports whether redirects are followed, as far as redirect_dir and
// its defaults say.
func (o Options) follows(d Defaults) bool {
	switch o.RedirectDir {
	case "on", "follow":
		return true
	case "nofollow":
		return false
	}
	// 4.10 to 4.14 lack redirect_always_follow and always follow.
	return o.RedirectDir == "" && d.RedirectDir == On || d.RedirectAlwaysFollow != Off
}

// StackOfOptions describes the overlay that mount(2) makes of the option
// string s on this kernel. Nothing is opened; relative paths stay relative. An
// error is an [*OptionError]: besides what [ParseOptions] finds, an unknown
// option (it may change the meaning of the layers), no lower layer, or options
// that the kernel refuses together.
func StackOfOptions(s string) (diff.Stack, error) {
	o, err := ParseOptions(s)
	if err != nil {
		return diff.Stack{}, err
	}
	d := KernelDefaults()
	if err := o.check(d); err != nil {
		return diff.Stack{}, err
	}
	return o.Stack(d), nil
}

// check finds what can't be mounted whatever the layers are.
func (o Options) check(d Defaults) error {
	explicit := o.RedirectDir != ""
	switch {
	case len(o.Unknown) > 0:
		return &OptionError{o.Unknown[0], "it is unknown and may change what the layers mean: leave it out if it does not"}
	case len(o.Lower) == 0:
		return &OptionError{"lowerdir", "it is missing: name the lower layers"}
	case o.UserXattr && explicit && o.follows(d):
		return &OptionError{"redirect_dir", "userxattr does not go with it: leave one out"}
	case o.UserXattr && o.Metacopy == "on":
		return &OptionError{"metacopy", "userxattr does not go with it: leave one out"}
	case o.Metacopy == "on" && explicit && o.RedirectDir != "on" && (o.Upper != "" || !o.follows(d)):
		return &OptionError{"metacopy", "it needs redirect_dir=on: leave redirect_dir out"}
	case o.Metacopy == "on" && o.NFSExport == "on" && o.Upper != "":
		return &OptionError{"metacopy", "nfs_export does not go with it: leave one out"}
	case o.Index == "off" && o.NFSExport == "on" && (o.Upper != "" || !o.follows(d)):
		return &OptionError{"nfs_export", "it needs index=on: leave index=off out"}
	}
	return nil
}
