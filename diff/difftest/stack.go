package difftest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// views are a stack and its two views as mounts.
type views struct {
	stack    diff.Stack
	old, new string
}

// overlay is a stack that is not mounted yet.
type overlay struct {
	dir     string   // scratch directory, for what else is needed
	lower   []string // topmost first
	data    []string
	upper   string
	options string
}

// mount mounts the new view, has work done to it, and mounts the old view: the
// lower layers alone, which must be two at least.
func (o overlay) mount(t testing.TB, work func(merged string)) *views {
	t.Helper()
	workdir := filepath.Join(o.dir, "work")
	merged := testenv.Mount(t, testenv.Overlay{Lower: o.lower, Data: o.data, Upper: o.upper, Work: workdir, Options: o.options})
	work(merged)
	lower := o.lower
	if len(lower) == 1 {
		empty := filepath.Join(o.dir, "empty")
		testenv.Tree(t, empty)
		lower = []string{empty, lower[0]} // the layer stays the lowest, in which marks are not read
	}
	return &views{
		stack: diff.Stack{
			Lower: o.lower, Data: o.data, Upper: o.upper, Work: workdir,
			Features: features(o.options), Mountpoint: merged,
		},
		old: testenv.Mount(t, testenv.Overlay{Lower: lower, Data: o.data, Options: lowerOptions(o.options)}),
		new: merged,
	}
}

// lowerOptions leaves out what has no meaning without an upper layer.
func lowerOptions(options string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(options, ","), func(o string) bool {
		return o == "volatile" || strings.HasPrefix(o, "index=") || strings.HasPrefix(o, "nfs_export=")
	}), ",")
}

// features returns what the kernel makes of the mount options.
func features(options string) diff.Features {
	set := map[string]string{}
	for o := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(o, "=")
		set[key] = value
	}
	on := func(option string) bool {
		if value, ok := set[option]; ok {
			return value == "on"
		}
		return parameter(option)
	}
	f := diff.Features{NFSExport: on("nfs_export"), UUIDOff: set["uuid"] == "off"}
	f.Index = on("index") || f.NFSExport
	if _, f.UserXattr = set["userxattr"]; f.UserXattr {
		return f // with user.* markers the kernel never follows
	}
	f.Metacopy = on("metacopy")
	switch set["redirect_dir"] {
	case "on", "follow":
		f.RedirectFollow = true
	case "nofollow":
	default: // off, or not said
		_, said := set["redirect_dir"]
		f.RedirectFollow = f.Metacopy || parameter("redirect_always_follow") || !said && parameter("redirect_dir")
	}
	return f
}

func parameter(name string) bool {
	value, err := os.ReadFile("/sys/module/overlay/parameters/" + name)
	return err == nil && strings.HasPrefix(string(value), "Y")
}
