//go:build linux

package mountutil

import (
	"slices"
	"strconv"
	"strings"
)

// ParseOptions reads an option string as mount(2) takes it for an overlay:
// separated by ',', with '\' before a ',', ':' or '\' that belongs to a path;
// lower layers separated by ':', data-only layers after "::"; or the layers one
// by one, literally, in lowerdir+= and datadir+=. Empty options are skipped, as
// the kernel does. An error is an [*OptionError]; unknown options are none.
func ParseOptions(s string) (Options, error) {
	p, err := parse(s, false)
	return p.Options, err
}

// ParseMountinfo reads the options of an overlay as the kernel shows them in
// the last field of a line of /proc/PID/mountinfo. Upper and work directories
// are taken to have been mounted as strings, with escapes: the mount table does
// not tell whether they were. An error is an [*OptionError].
func ParseMountinfo(super string) (Options, error) {
	p, err := parse(super, true)
	return p.Options, err
}

// ParseLower splits a list of lower layers as the lowerdir option has it,
// topmost first: ':' between layers, "::" before data-only ones, '\' before a
// ':' or '\' that belongs to a path. Commas need no escape here. An error is an
// [*OptionError].
func ParseLower(list string) (lower, data []string, err error) {
	p := parser{}
	err = p.lowerdir(list)
	return p.Lower, p.Data, err
}

// parser collects options. Both spellings differ only in how the string is cut
// and whether octal escapes are undone first.
type parser struct {
	Options
	mountinfo bool
	seen      map[string]bool
	// The upper and work directory without backslashes taken away: right if
	// they were mounted by descriptor (Linux 6.13).
	literalUpper, literalWork string
}

func parse(s string, mountinfo bool) (parser, error) {
	p := parser{mountinfo: mountinfo, seen: map[string]bool{}}
	if strings.ContainsRune(s, 0) {
		return parser{}, &OptionError{s[:strings.IndexByte(s, 0)], "there is a NUL byte after it, which no path has: leave it out"}
	}
	for s != "" {
		var opt string
		opt, s = p.cut(s)
		name, value, given := strings.Cut(opt, "=")
		if name == "" { // vfs_parse_monolithic_sep skips "" and "=x"
			continue
		}
		if mountinfo {
			// A ':' in octal is how Linux 6.5 alone shows one inside a layer's path,
			// having dropped the backslashes: put them back.
			requote := name == "lowerdir" && strings.Contains(value, `\072`)
			name, value = octal(name, false), octal(value, requote)
		}
		if err := p.option(name, value, given); err != nil {
			return parser{}, err
		}
	}
	if len(p.Data) > 0 && len(p.Lower) == 0 {
		return parser{}, &OptionError{"datadir+", "there are data-only layers but no lower layer: add lowerdir+="}
	}
	return p, nil
}

// cut returns the first option of s and what follows the comma after it.
func (p *parser) cut(s string) (opt, rest string) {
	if name, value, ok := strings.Cut(s, `="`); ok && isContext(name) {
		if end := strings.Index(value, `",`); end >= 0 {
			n := len(name) + len(`="`) + end + len(`"`)
			return s[:n], s[n+1:]
		}
		return s, ""
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && !p.mountinfo:
			i++
		case s[i] == ',':
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// option records one option. Octal escapes are undone, backslashes are there.
func (p *parser) option(name, value string, given bool) error {
	bad := func(reason string) error { return &OptionError{name, reason} }
	if once(name) {
		key := name
		switch name {
		case "volatile":
			key = "fsync"
		case "nooverride_creds":
			key = "override_creds"
		}
		if p.seen[key] {
			return bad("it is given twice: leave one out")
		}
		p.seen[key] = true
	}
	if isLayer(name) && value == "" {
		return bad("it has no value: name a directory")
	}
	for _, s := range settings {
		if s.name != name {
			continue
		}
		if !slices.Contains(strings.Fields(s.values), value) {
			return bad("its value must be one of " + s.values)
		}
		*s.field(&p.Options) = value
		return nil
	}
	switch {
	case isLayer(name):
		return p.layer(name, value)
	case isContext(name):
		return p.context(name, value)
	}
	return p.flag(name, given)
}

// once reports whether a second option of that name is an error.
func once(name string) bool {
	return name != "lowerdir+" && name != "datadir+" && !isGeneric(name)
}

func isLayer(name string) bool {
	return slices.Contains([]string{"lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir"}, name)
}

// flag records an option that has no value.
func (p *parser) flag(name string, given bool) error {
	known := true
	switch name {
	case "userxattr":
		p.UserXattr = true
	case "default_permissions":
		p.DefaultPermissions = true
	case "volatile":
		p.Fsync = "volatile"
	case "override_creds":
		p.OverrideCreds = "on"
	case "nooverride_creds":
		p.OverrideCreds = "off"
	case "nouserxattr", "nodefault_permissions": // Ubuntu's kernels have the negations, too, and show them
		known = !p.seen[strings.TrimPrefix(name, "no")]
	default:
		known = isGeneric(name) && !strings.ContainsAny(name, `\,=`) // an x-… that String could not write
		if known {
			p.Generic = append(p.Generic, name)
		}
	}
	switch {
	case !known:
		p.Unknown = append(p.Unknown, name)
	case given && !strings.HasPrefix(strings.ToLower(name), "x-"):
		return &OptionError{name, "it has a value but takes none: leave the value out"}
	}
	return nil
}

// context records a security label. The quotes only protect its commas.
func (p *parser) context(name, value string) error {
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
	}
	if strings.Contains(value, `"`) {
		return &OptionError{name, "there is a quote within its value: leave it out"}
	}
	p.Generic = append(p.Generic, name+"="+value)
	return nil
}

// layer records an option that names layer directories.
func (p *parser) layer(name, value string) error {
	bad := func(reason string) error { return &OptionError{name, reason} }
	switch name {
	case "lowerdir":
		if p.Lower != nil || p.Data != nil {
			return bad("it follows lowerdir+ or datadir+: use one or the other")
		}
		return p.lowerdir(value)
	case "lowerdir+", "datadir+":
		// Taken literally: no escapes, and the kernel refuses them after lowerdir.
		switch {
		case p.seen["lowerdir"]:
			return bad("it follows lowerdir: use one or the other")
		case name == "datadir+":
			p.Data = append(p.Data, value)
		case p.Data != nil:
			return bad("it follows datadir+: name the lower layers before the data-only ones")
		default:
			p.Lower = append(p.Lower, value)
		}
		return nil
	}
	path, ok := unescape(value)
	if !ok && !p.mountinfo {
		return bad("a backslash ends its value: write two for one")
	}
	if !ok { // mounted by descriptor, then
		path = value
	}
	if name == "upperdir" {
		p.Upper, p.literalUpper = path, value
	} else {
		p.Work, p.literalWork = path, value
	}
	return nil
}

// lowerdir splits the value at its unescaped colons, one before each lower and
// two before each data-only layer, like ovl_parse_param_lowerdir.
func (p *parser) lowerdir(value string) error {
	bad := func(reason string) error { return &OptionError{"lowerdir", reason} }
	colons, start := 1, 0
	end := func(i int) error {
		path, ok := unescape(value[start:i])
		switch {
		case !ok:
			return bad("a backslash ends its value: write two for one")
		case path == "":
			return bad(`a layer's name is empty: write one ':' between lower layers and "::" before data-only ones`)
		case colons == 2:
			p.Data = append(p.Data, path)
		case p.Data != nil:
			return bad(`a lower layer follows a data-only one: write "::" before each data-only layer, after the others`)
		default:
			p.Lower = append(p.Lower, path)
		}
		return nil
	}
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case ':':
			if err := end(i); err != nil {
				return err
			}
			colons = 1
			if strings.HasPrefix(value[i:], "::") {
				colons = 2
				i++
			}
			start = i + 1
		}
	}
	return end(len(value))
}

// unescape drops the backslash before each escaped byte. It reports false if
// the last byte is a backslash that escapes nothing.
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			if i++; i == len(s) {
				return "", false
			}
		}
		b = append(b, s[i])
	}
	return string(b), true
}

// octal undoes the \ooo escapes of /proc/PID/mountinfo. With requote, a ':' or
// '\' that was one of them gets a backslash.
func octal(s string, requote bool) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil && v != 0 {
				c = byte(v)
				i += 3
				if requote && (c == ':' || c == '\\') {
					b = append(b, '\\')
				}
			}
		}
		b = append(b, c)
	}
	return string(b)
}
