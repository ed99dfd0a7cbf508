package storage

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.podman.io/storage/pkg/idtools"

	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// opened returns the driver with an empty store.
func opened(t *testing.T, options ...string) underTest {
	t.Helper()
	testenv.RequireRoot(t)
	return open(options...)(t, filepath.Join(testenv.Scratch(t, testenv.Ext4), Name), 0).(underTest)
}

func (u underTest) make(t *testing.T, id, parent string, edit func(dir string)) {
	t.Helper()
	if err := u.Create(id, parent); err != nil {
		t.Fatal(err)
	}
	dir, unmount, err := u.Edit(id)
	if err != nil {
		t.Fatal(err)
	}
	edit(dir)
	if err := unmount(); err != nil {
		t.Fatal(err)
	}
}

// The options of overlay that say what layers mean are heeded, and where they mean
// something that the kernel does not know overlay is left to answer.
func TestConfigure(t *testing.T) {
	for _, c := range []struct {
		options []string
		mount   string
		foreign bool
	}{
		{nil, "", false},
		{[]string{"overlay.mountopt=nodev,redirect_dir=on"}, "nodev,redirect_dir=on", false},
		{[]string{"mountopt=metacopy=on,nodev", "overlay.ignore_chown_errors=false"}, "nodev,metacopy=on", false},
		{[]string{"overlay.mount_program=/bin/true", "overlay.mountopt=nodev"}, "", true},
		{[]string{"overlay.ignore_chown_errors=true"}, "", true},
		{[]string{"force_mask=700"}, "", true},
	} {
		u := opened(t, c.options...)
		if got := u.options.String(); got != c.mount || u.foreign != c.foreign {
			t.Errorf("%q: mounts with %q, foreign %t; want %q, %t", c.options, got, u.foreign, c.mount, c.foreign)
		}
	}
}

// What podman info says of diffs is overlaydiff's own answer, redirects or not.
func TestStatus(t *testing.T) {
	for _, options := range [][]string{nil, {"overlay.mountopt=redirect_dir=on"}} {
		u := opened(t, options...)
		if u.String() != Name || !slices.Contains(u.Status(), [2]string{"Native Overlay Diff", "true"}) {
			t.Errorf("%q: %s has the status %q", options, u, u.Status())
		}
	}
}

// A layer whose owners were mapped anew has its former upper directories below it: a
// layer over it is compared with both, and it itself with what it is on, as mounted.
func TestStack_Rotated(t *testing.T) {
	u := opened(t)
	u.make(t, "base", "", func(dir string) { testenv.Tree(t, dir, "file f", "file g", "file gone") })
	u.make(t, "mapped", "base", func(dir string) { testenv.Do(t, dir, "unlink gone", "create n 1") })
	ids := []idtools.IDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
	if err := u.UpdateLayerIDMap("mapped", &idtools.IDMappings{}, idtools.NewIDMappingsFromMaps(ids, ids), ""); err != nil {
		t.Fatal(err)
	}
	u.make(t, "top", "mapped", func(dir string) { testenv.Do(t, dir, "open f", "chmod g 600", "unlink n") })
	for _, c := range [][2]string{{"top", "mapped"}, {"mapped", "base"}, {"top", "base"}} {
		var want []string
		for _, change := range u.reference(t, c[0], c[1]) {
			want = append(want, map[string]string{"add": "A ", "modify": "C ", "delete": "D "}[change.Kind]+change.Path)
		}
		got, err := u.Changes(c[0], c[1])
		if d := cmp.Diff(want, got); d != "" || err != nil || len(want) == 0 {
			t.Errorf("from %s to %s: error %v, changes (-want +got):\n%s", c[1], c[0], err, d)
		}
	}
}

// reference compares two layers as they are mounted.
func (u underTest) reference(t *testing.T, id, parent string) []refdiff.Change {
	t.Helper()
	old, putOld, err := u.Mount(parent)
	if err != nil {
		t.Fatal(err)
	}
	view, putView, err := u.Mount(id)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := refdiff.Diff(old, view)
	if err := errors.Join(err, putOld(), putView()); err != nil {
		t.Fatal(err)
	}
	return changes
}

// Layers of composefs are not read as directories, nor are those over them.
func TestStack_Composefs(t *testing.T) {
	u := opened(t)
	u.make(t, "base", "", func(dir string) { testenv.Tree(t, dir, "file f") })
	u.make(t, "top", "base", func(dir string) { testenv.Do(t, dir, "create g 1") })
	dirs, err := u.Metadata("base")
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(filepath.Dir(dirs["UpperDir"]), "composefs-data")
	for _, there := range []bool{false, true} {
		if there {
			if err := os.Mkdir(blob, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := u.Stack("top"); err != nil || (len(s.Unknown) > 0) != there {
			t.Errorf("composefs %t: %+v, error %v", there, s, err)
		}
	}
}

// Ids that are mapped in two ways are overlay's to compare.
func TestLeaves(t *testing.T) {
	one := []idtools.IDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
	mapped := idtools.NewIDMappingsFromMaps(one, one)
	none := &idtools.IDMappings{}
	for _, c := range []struct {
		ids       *idtools.IDMappings
		parent    string
		parentIDs *idtools.IDMappings
		want      bool
	}{
		{nil, "p", nil, false}, {nil, "p", none, false}, {mapped, "p", idtools.NewIDMappingsFromMaps(one, one), false},
		{mapped, "", nil, false}, {mapped, "p", nil, true}, {none, "p", mapped, true},
	} {
		if got := new(Driver).leaves(c.ids, c.parent, c.parentIDs); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
