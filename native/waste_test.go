package native_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func copyUps(t *testing.T, s diff.Stack, content diff.Content) diff.CopyUps {
	t.Helper()
	e, err := native.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c, err := e.CopyUps(t.Context(), diff.Options{Content: content})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// slowCopyUps compares what the upper directory has by paths with the old view.
func slowCopyUps(t *testing.T, o overlay, old string) (c diff.CopyUps) {
	t.Helper()
	changed := map[string]bool{}
	err := each(t.Context(), o.stack, diff.Options{}, func(c diff.Change) { changed[c.Path] = true })
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	err = filepath.WalkDir(o.stack.Upper, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, _ := filepath.Rel(o.stack.Upper, path)
		info, err := os.Lstat(filepath.Join(old, rel))
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		if _, err := xattr.LGet(path, "trusted.overlay.metacopy"); err == nil {
			return nil
		}
		was, err := os.ReadFile(filepath.Join(old, rel))
		if err != nil {
			return err
		}
		is, err := os.ReadFile(path)
		if err != nil || string(was) != string(is) {
			return err
		}
		info, err = d.Info()
		if err != nil {
			return err
		}
		if st, _ := info.Sys().(*syscall.Stat_t); seen[st.Ino] {
			return nil
		} else {
			seen[st.Ino] = true
		}
		if changed["/"+rel] {
			c.MetadataOnly++
			c.MetadataOnlyBytes += info.Size()
		} else {
			c.Unchanged++
			c.UnchangedBytes += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCopyUps(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	o := layers{
		options: "metacopy=off", upper: "dir .",
		lower: []string{"file d/mode size=100; file d/same size=1000; file d/time size=30; file d/written size=5; file d/a size=7; link d/b d/a; file moved/f size=9; symlink l -> x"},
	}.make(t, dir)
	v := o.mount(t)
	testenv.Do(t, v.new, "chmod d/mode 0600", "open d/same", "utimes d/time 5.5", "write d/written xxxxx", "chmod d/a 0600",
		"mkdir new", "create new/f content", "create d/new content")
	want := diff.CopyUps{Unchanged: 1, UnchangedBytes: 1000, MetadataOnly: 3, MetadataOnlyBytes: 137}
	if d := cmp.Diff(want, copyUps(t, o.stack, diff.ContentAuto)); d != "" {
		t.Errorf("copy-ups (-want +got):\n%s", d)
	}
	// A time that was set is taken for a write.
	want.MetadataOnly, want.MetadataOnlyBytes = 2, 107
	if d := cmp.Diff(want, copyUps(t, o.stack, diff.ContentNever)); d != "" {
		t.Errorf("copy-ups, content not read (-want +got):\n%s", d)
	}
}

func TestCopyUps_Random(t *testing.T) {
	seed := rand.Uint64N(1 << 48)
	t.Logf("seed %d", seed)
	for i := range uint64(20) {
		options := []string{"", "redirect_dir=on,metacopy=on", "metacopy=on", "redirect_dir=on"}[i%4]
		c := testenv.Random(seed+i, options)
		dir := testenv.Scratch(t, testenv.Tmpfs)
		o := overlay{options: options, stack: diff.Stack{
			Lower: c.Lowers(t, dir), Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Features: featuresOf(t, options),
		}}
		v := o.mount(t)
		if err := testenv.Attempt(v.new, c.Upper()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(slowCopyUps(t, o, v.old), copyUps(t, o.stack, diff.ContentAuto)); d != "" {
			t.Errorf("%q: copy-ups (-files +engine):\n%s\n%s", options, d, c)
		}
	}
}

func wasteOf(t *testing.T, s diff.Stack) []diff.Waste {
	t.Helper()
	e, err := native.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var list []diff.Waste
	for w, err := range e.Waste(t.Context(), diff.Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, w)
	}
	return list
}

func TestWaste(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	o := layers{
		options: "metacopy=off,redirect_dir=on", upper: "dir .",
		lower: []string{"file d/f size=100; file d/sub/g size=10; link d/sub/h d/f; file e size=7; file k size=3; link l k; file mode size=20; file same size=4; file to/x size=50; file w size=9; file m/f size=30"},
	}.make(t, dir)
	v := o.mount(t)
	testenv.Do(t, v.new, "rmtree d", "unlink e", "unlink k", "chmod l 0600", "chmod mode 0600", "open same", "rmtree to", "create to x",
		"write w 123456789", "rename m n")
	want := []diff.Waste{
		{Kind: diff.Deleted, Path: "/d", Bytes: 110},
		{Kind: diff.Deleted, Path: "/e", Bytes: 7},
		{Kind: diff.Deleted, Path: "/k", Bytes: 3},
		{Kind: diff.MetadataOnly, Path: "/l", What: diff.WhatMode, Bytes: 3},
		{Kind: diff.Deleted, Path: "/m", Bytes: 30},
		{Kind: diff.MetadataOnly, Path: "/mode", What: diff.WhatMode, Bytes: 20},
		{Kind: diff.Unchanged, Path: "/same", Bytes: 4},
		{Kind: diff.Deleted, Path: "/to", Bytes: 50},
	}
	if d := cmp.Diff(want, wasteOf(t, o.stack)); d != "" {
		t.Errorf("waste (-want +got):\n%s", d)
	}
}

// slowDeleted is what was deleted, by the size that the old view shows.
func slowDeleted(t *testing.T, o overlay, old string) (list []diff.Waste) {
	t.Helper()
	seen := map[uint64]bool{}
	sizeOf := func(root string) (sum int64) {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) { // overlayfs lists names that it does not find
				return nil
			}
			if err != nil {
				return err
			}
			st, _ := info.Sys().(*syscall.Stat_t)
			if st.Nlink < 2 || !seen[st.Ino] {
				sum += info.Size()
			}
			seen[st.Ino] = true
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	err := each(t.Context(), o.stack, diff.Options{}, func(c diff.Change) {
		was, err := os.Lstat(filepath.Join(old, c.Path))
		if c.Kind == diff.Delete || c.What == diff.WhatType && err == nil && was.IsDir() {
			list = append(list, diff.Waste{Kind: diff.Deleted, Path: c.Path, Bytes: sizeOf(filepath.Join(old, c.Path))})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestWaste_Random(t *testing.T) {
	seed := rand.Uint64N(1 << 48)
	t.Logf("seed %d", seed)
	deleted := 0
	for i := range uint64(40) {
		options := []string{"", "redirect_dir=on,metacopy=on", "index=on", "redirect_dir=on"}[i%4]
		c := testenv.Random(seed+i, options)
		dir := testenv.Scratch(t, testenv.Tmpfs)
		o := overlay{options: options, stack: diff.Stack{
			Lower: c.Lowers(t, dir), Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Features: featuresOf(t, options),
		}}
		v := o.mount(t)
		if err := testenv.Attempt(v.new, c.Upper()); err != nil {
			t.Fatal(err)
		}
		want := slowDeleted(t, o, v.old)
		deleted += len(want)
		got := slices.DeleteFunc(wasteOf(t, o.stack), func(w diff.Waste) bool { return w.Kind != diff.Deleted })
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%q: deleted (-files +engine):\n%s\n%s", options, d, c)
		}
	}
	if deleted == 0 {
		t.Error("nothing was deleted")
	}
}
