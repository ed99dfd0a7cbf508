//go:build linux

package mountutil

import (
	"slices"
	"strings"
)

// Options are the options of an overlay mount. A setting that was not given is
// "" (or false): the kernel's default holds then, see [Defaults].
type Options struct {
	Lower       []string // lower layers, topmost first
	Data        []string // data-only lower layers (Linux 6.5), first searched first
	Upper, Work string   // "": read-only

	UserXattr          bool // Linux 5.11
	DefaultPermissions bool // of callers, not of the mounter

	RedirectDir   string // on, off, follow or nofollow (Linux 4.10)
	Metacopy      string // on or off (Linux 4.19)
	Index         string // on or off (Linux 4.13)
	NFSExport     string // on or off (Linux 4.16)
	XINO          string // on, off or auto (Linux 4.17)
	UUID          string // on, off, auto or null (Linux 5.11)
	Verity        string // on, off or require (Linux 6.6)
	Fsync         string // auto, strict or volatile; the option "volatile" is "volatile" here (Linux 5.10)
	OverrideCreds string // on for override_creds, off for nooverride_creds (Linux 6.15)

	// Generic has the options that every file system has and that say nothing
	// about layers, in the order given: "ro", "noatime", "context=…" (no quotes).
	Generic []string
	// Unknown has the names of all other options.
	Unknown []string
}

// setting is an option with a closed set of values.
type setting struct {
	name   string
	field  func(*Options) *string
	values string // separated by spaces
}

var settings = [...]setting{
	{"redirect_dir", func(o *Options) *string { return &o.RedirectDir }, "on off follow nofollow"},
	{"metacopy", func(o *Options) *string { return &o.Metacopy }, "on off"},
	{"index", func(o *Options) *string { return &o.Index }, "on off"},
	{"nfs_export", func(o *Options) *string { return &o.NFSExport }, "on off"},
	{"xino", func(o *Options) *string { return &o.XINO }, "on off auto"},
	{"uuid", func(o *Options) *string { return &o.UUID }, "on off auto null"},
	{"verity", func(o *Options) *string { return &o.Verity }, "on off require"},
	{"fsync", func(o *Options) *string { return &o.Fsync }, "auto strict volatile"},
}

// genericFlags are options without a value that mean the same everywhere.
const genericFlags = " ro rw sync async dirsync lazytime nolazytime mand nomand suid nosuid dev nodev exec noexec" +
	" atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime symfollow nosymfollow" +
	" iversion noiversion silent loud defaults auto noauto user nouser users _netdev nofail seclabel "

// isGeneric reports whether the option name without a value is to be ignored.
// x-… are comments for the programs that read fstab.
func isGeneric(name string) bool {
	return strings.Contains(genericFlags, " "+name+" ") && !strings.Contains(name, " ") ||
		strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "X-")
}

// isContext reports whether the option sets a security label. Its value may
// contain commas if it is in double quotes.
func isContext(name string) bool {
	return slices.Contains([]string{"context", "fscontext", "defcontext", "rootcontext"}, name)
}

// String returns the options as [ParseOptions] and mount(8)'s -o take them,
// with all escapes. Options in Unknown are left out.
func (o Options) String() string {
	list := make([]string, 0, 16)
	for _, opt := range o.Generic {
		name, value, _ := strings.Cut(opt, "=")
		if isContext(name) && strings.ContainsAny(value, `,\`) {
			opt = name + `="` + value + `"`
		}
		list = append(list, opt)
	}
	return strings.Join(append(list, o.overlay()...), ",")
}

// overlay returns the options that overlayfs itself takes, escaped.
func (o Options) overlay() []string {
	var list []string
	add := func(cond bool, opt string) {
		if cond {
			list = append(list, opt)
		}
	}
	lower := escape(o.Lower, ":")
	if len(o.Data) > 0 {
		lower += "::" + escape(o.Data, "::")
	}
	add(lower != "", "lowerdir="+lower)
	// The kernel needs no backslash before ':' here, but drops it.
	add(o.Upper != "", "upperdir="+escaper.Replace(o.Upper))
	add(o.Work != "", "workdir="+escaper.Replace(o.Work))
	add(o.DefaultPermissions, "default_permissions")
	for _, s := range settings {
		// fsync= is younger than volatile, which every kernel since 5.10 takes.
		if v := *s.field(&o); v == "volatile" {
			add(true, v)
		} else {
			add(v != "", s.name+"="+v)
		}
	}
	add(o.UserXattr, "userxattr")
	add(o.OverrideCreds == "on", "override_creds")
	add(o.OverrideCreds == "off", "nooverride_creds")
	return list
}

var escaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`)

// escape returns the paths joined by sep as the lowerdir option takes them.
func escape(paths []string, sep string) string {
	escaped := make([]string, len(paths))
	for i, p := range paths {
		escaped[i] = escaper.Replace(p)
	}
	return strings.Join(escaped, sep)
}
