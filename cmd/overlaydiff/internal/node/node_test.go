//go:build linux

package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestTop(t *testing.T) {
	dir := t.TempDir()
	testenv.Tree(t, dir, strings.Split("file a/b/big size=1000; file a/b/c/small size=10; file a/x size=500; file d/y size=1100; link d/z d/y; dir e; file a-b size=1", "; ")...)
	s := diff.Stack{Upper: dir}
	files, dirs, err := Top(t.Context(), s, 3)
	if err != nil {
		t.Fatal(err)
	}
	lines := func(list []diff.Held) (lines []string) {
		for _, h := range list {
			lines = append(lines, fmt.Sprintf("%s %d %d", h.Path, h.Bytes, h.Inodes))
		}
		return lines
	}
	if d := cmp.Diff([]string{"/d/y 1100 1", "/a/b/big 1000 1", "/a/x 500 1"}, lines(files)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"/ 2611 11", "/a 1510 6", "/d 1100 2"}, lines(dirs)); d != "" {
		t.Errorf("directories (-want +got):\n%s", d)
	}
	u, err := native.Usage(t.Context(), s, diff.Options{})
	if err != nil || u.Bytes != dirs[0].Bytes || u.Inodes != dirs[0].Inodes {
		t.Errorf("%v: usage is %+v, the root %+v", err, u, dirs[0])
	}
	if files, dirs, err = Top(t.Context(), s, 0); len(files)+len(dirs) > 0 || err != nil {
		t.Error(files, dirs, err)
	}
}

func container(name, upper string, lower ...string) stores.Container {
	c := stores.Container{Runtime: "test", ID: name, Name: name, Stack: diff.Stack{Upper: upper, Lower: lower}, RW: stores.Layer{Dir: upper, Size: -1}}
	for _, dir := range lower {
		c.Layers = append(c.Layers, stores.Layer{Dir: dir, Size: -1})
	}
	return c
}

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	testenv.Tree(t, dir, strings.Split("file low/f size=10; file low/g size=20; file a/f size=10; file a/n size=100; link a/m a/n; dir b; dir half", "; ")...)
	if err := os.Chtimes(dir+"/a/f", fileTime(t, dir+"/low/f"), fileTime(t, dir+"/low/f")); err != nil {
		t.Fatal(err)
	}
	half := container("half", dir+"/half")
	half.Stack.Upper, half.Err = "", os.ErrInvalid // its image is damaged
	nothing := stores.Container{ID: "nothing", Name: "nothing", Err: os.ErrPermission}
	written := container("written", dir+"/a", dir+"/low")
	written.Layers[0].Size = 1000
	list := []stores.Container{
		container("a", dir+"/a", dir+"/low"), container("b", dir+"/b", dir+"/low"), container("gone", dir+"/gone"), half, nothing, written,
	}
	for tool, want := range map[string][]string{
		"":       {"a 110 140 <nil> 10", "b 0 30 <nil> 0", "half 0 -1 <nil> 0", "nothing 0 -1 permission denied 0", "written 110 1110 <nil> 10"},
		"isulad": {"a 210 240 <nil> 10", "b 0 30 <nil> 0", "half 0 -1 <nil> 0", "nothing 0 -1 permission denied 0", "written 210 1210 <nil> 10"},
		"podman": {"a 110 30 <nil> 10", "b 0 30 <nil> 0", "half 0 -1 <nil> 0", "nothing 0 -1 permission denied 0", "written 110 30 <nil> 10"},
	} {
		rule, ok := RuleOf(tool)
		if !ok {
			t.Fatal(tool)
		}
		done := 0
		got, err := Measure(t.Context(), list, Options{Rule: rule, CopyUps: true, Done: func(Measured) { done++ }})
		if err != nil || done != len(got) {
			t.Errorf("%v, %d done", err, done)
		}
		var lines []string
		for _, m := range got {
			lines = append(lines, fmt.Sprintf("%s %d %d %v %d", m.Name, m.SizeRw, m.SizeRootFs, m.Err, m.CopyUps.Bytes()))
		}
		slices.Sort(lines)
		if d := cmp.Diff(want, lines); d != "" {
			t.Errorf("%q (-want +got):\n%s", tool, d)
		}
	}
	// Snapshots of containerd: what is written down are allocated bytes, those of Docker's init
	// layer among them.
	snap := container("snap", dir+"/a", dir+"/low")
	snap.RW.SnapshotKey, snap.Init, snap.Layers[0].Size = "snap", stores.Layer{Dir: dir + "/b", Size: 4096}, 8192
	u, err := native.Usage(t.Context(), snap.Stack, diff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for tool, want := range map[string][2]int64{
		"": {110, u.DiskBytes + 8192}, "docker": {u.DiskBytes, u.DiskBytes + 8192 + 4096}, "containerd": {u.DiskBytes, u.DiskBytes + 8192}, "crio": {110, 8302},
	} {
		rule, _ := RuleOf(tool)
		got, err := Measure(t.Context(), []stores.Container{snap}, Options{Rule: rule})
		if err != nil || len(got) != 1 || [2]int64{got[0].SizeRw, got[0].SizeRootFs} != want {
			t.Errorf("%q of a snapshot: %v, %+v; want %v", tool, err, got, want)
		}
	}
	if _, ok := RuleOf("rkt"); ok {
		t.Error("rkt has a rule")
	}
	got, err := Measure(t.Context(), list, Options{Rule: Own})
	if err != nil {
		t.Fatal(err)
	}
	SortBySize(got)
	if got[0].SizeRw != 110 || got[1].SizeRw != 110 || got[len(got)-1].Name != "nothing" {
		t.Errorf("not sorted: %v", got)
	}
}

// Overlays are found by their mounts, those of a store's containers once.
func TestList(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	root := filepath.Join(dir, "root")
	id := strings.Repeat("a", 64)
	testenv.Tree(t, dir,
		"file lower/f", "dir other/upper", "dir other/work",
		fmt.Sprintf("file root/var/lib/isulad/storage/overlay-containers/%s/container.json content=%q", id, fmt.Sprintf(`{"id":%q,"names":["web"]}`, id)),
		fmt.Sprintf("file root/var/lib/isulad/storage/overlay-layers/%s/layer.json content=%q", id, fmt.Sprintf(`{"id":%q}`, id)),
		fmt.Sprintf("dir root/var/lib/isulad/storage/overlay/%s/diff", id), fmt.Sprintf("dir root/var/lib/isulad/storage/overlay/%s/work", id))
	layer := filepath.Join(root, "var/lib/isulad/storage/overlay", id)
	known := testenv.Mount(t, testenv.Overlay{Lower: []string{dir + "/lower"}, Upper: layer + "/diff", Work: layer + "/work"})
	merged := testenv.Mount(t, testenv.Overlay{Lower: []string{dir + "/lower"}, Upper: dir + "/other/upper", Work: dir + "/other/work"})
	list, _ := List(t.Context(), root)
	var names []string
	for _, c := range list {
		if c.Name == "web" || c.Name == merged || c.Name == known {
			names = append(names, c.Name)
		}
		if c.Name == "web" && c.State != mounted {
			t.Errorf("no runtime says that web runs, but it is mounted: state %q", c.State)
		}
		if c.Name == merged && (c.Stack.Upper != dir+"/other/upper" || c.Runtime != Mounted) {
			t.Errorf("%+v", c)
		}
	}
	if d := cmp.Diff([]string{"web", merged}, names); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if c, err := Resolve(t.Context(), root, "web"); err != nil || c.ID != id {
		t.Error(c, err)
	}
}

func fileTime(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// Of a user's containers no more than the bound are listed, and none of root's is left out
// for them.
func TestBounds(t *testing.T) {
	testenv.RequireRoot(t)
	root := t.TempDir()
	add := func(store string, n, owner int) {
		t.Helper()
		var containers, layers []string
		lines := []string{"dir " + store + "/overlay-containers", "dir " + store + "/overlay-layers"}
		for i := range n {
			containers = append(containers, fmt.Sprintf(`{"id":"c%d","names":["web"],"layer":"l%d"}`, i, i))
			layers = append(layers, fmt.Sprintf(`{"id":"l%d"}`, i))
			lines = append(lines, fmt.Sprintf("dir %s/overlay/l%d/diff", store, i), fmt.Sprintf("dir %s/overlay/l%d/empty", store, i))
		}
		lines = append(lines, fmt.Sprintf("file %s/overlay-containers/containers.json content=%q", store, "["+strings.Join(containers, ",")+"]"),
			fmt.Sprintf("file %s/overlay-layers/layers.json content=%q", store, "["+strings.Join(layers, ",")+"]"))
		testenv.Tree(t, root, lines...)
		err := filepath.WalkDir(filepath.Join(root, store), func(path string, _ os.DirEntry, err error) error {
			if err == nil {
				err = os.Lchown(path, owner, owner)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	add("var/lib/containers/storage", 4, 0)
	add("home/u/.local/share/containers/storage", 7, 1000)
	testenv.Tree(t, root, `file etc/passwd content="u:x:1000:1000::/home/u:/bin/sh\n"`)
	for _, c := range []struct {
		bounds      Bounds
		roots, user int
	}{{Bounds{}, 4, 7}, {Bounds{OfUser: 3}, 4, 3}, {Bounds{Containers: 6, OfUser: 3}, 4, 2}, {Bounds{Containers: 2}, 2, 0}} {
		l := c.bounds.List(t.Context(), root)
		found := map[string]int{}
		for _, one := range l.Containers {
			if one.Runtime != Mounted { // of other tests on this machine
				found[one.Owner.String()]++
			}
		}
		if c.bounds.Containers == 6 {
			c.user = found["u"] // overlays of root's come before
		}
		if found["root"] != c.roots || found["u"] != c.user || found["u"] > 7 || l.LeftOut < 11-c.roots-c.user {
			t.Errorf("%+v: %v, and %d left out", c.bounds, found, l.LeftOut)
		}
	}
}
