package difftest

import (
	"fmt"
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
	lower    []string // where the lower layers are mounted if some are id-mapped
	old, new string
}

// stacks returns in which ways the stack can be described: id-mapped layers by their
// directories and maps, or by where they are mounted.
func (v *views) stacks() []diff.Stack {
	if len(v.stack.Owners) == 0 {
		return []diff.Stack{v.stack}
	}
	mounted := v.stack
	mounted.Lower, mounted.Owners = v.lower, nil
	return []diff.Stack{v.stack, mounted}
}

// overlay is a stack that is not mounted yet.
type overlay struct {
	fs      testenv.FS
	dir     string   // scratch directory, for what else is needed
	lower   []string // topmost first
	data    []string
	upper   string
	options string
	idmaps  []string // of the lower layers, "" for none; nil: none has one
}

// mapped returns where the lower layers are mounted, and the maps by directory.
func (o overlay) mapped(t testing.TB) ([]string, map[string]diff.IDMap) {
	t.Helper()
	lower, owners := slices.Clone(o.lower), map[string]diff.IDMap{}
	for i, ids := range o.idmaps {
		if ids == "" {
			continue
		}
		var ranges []diff.IDRange
		for line := range strings.SplitSeq(ids, ",") {
			var r diff.IDRange
			if _, err := fmt.Sscanf(line, "%d:%d:%d", &r.Container, &r.Host, &r.Size); err != nil {
				t.Fatal(err)
			}
			ranges = append(ranges, r)
		}
		lower[i] = testenv.IDMapped(t, o.fs, o.lower[i], ids)
		owners[o.lower[i]] = diff.IDMap{Users: ranges, Groups: ranges}
	}
	return lower, owners
}

// mount mounts the new view, has work done to it, and mounts the old view: the
// lower layers alone, which must be two at least.
func (o overlay) mount(t testing.TB, work func(merged string)) *views {
	t.Helper()
	workdir := filepath.Join(o.dir, "work")
	mounted, owners := o.mapped(t)
	merged := testenv.Mount(t, testenv.Overlay{Lower: mounted, Data: o.data, Upper: o.upper, Work: workdir, Options: o.options})
	work(merged)
	lower := mounted
	if len(lower) == 1 {
		empty := filepath.Join(o.dir, "empty")
		testenv.Tree(t, empty)
		lower = []string{empty, lower[0]} // the layer stays the lowest, in which marks are not read
	}
	return &views{
		stack: diff.Stack{
			Lower: o.lower, Data: o.data, Upper: o.upper, Work: workdir,
			Features: features(o.options), Mountpoint: merged, Owners: owners,
		},
		lower: mounted,
		old:   testenv.Mount(t, testenv.Overlay{Lower: lower, Data: o.data, Options: lowerOptions(o.options)}),
		new:   merged,
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
