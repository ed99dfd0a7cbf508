//go:build linux

package mountutil

// ParseLower splits a list of lower layers as the lowerdir option has it,
// topmost first: ':' between layers, "::" before data-only ones, '\' before a
// ':' or '\' that belongs to a path. Commas need no escape here. An error is an
// [*OptionError].
func ParseLower(list string) (lower, data []string, err error) {
	p := parser{}
	err = p.lowerdir(list)
	return p.Lower, p.Data, err
}
