package difftest

import (
	"context"
	"errors"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// liar is an engine whose answer and manners can be spoiled.
type liar struct {
	changes []diff.Change
	manners func(opts diff.Options) // called by each walk
	deaf    bool                    // to cancellation
}

func (l *liar) Name() string { return "liar" }
func (l *liar) Close() error { return nil }

func (l *liar) Changes(ctx context.Context, opts diff.Options) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
		if l.manners != nil {
			l.manners(opts)
		}
		for _, c := range l.changes {
			if !yield(c, nil) {
				return
			}
		}
		if ctx.Err() != nil && !l.deaf {
			yield(diff.Change{}, ctx.Err())
		}
	}
}

// truth returns a case's views and what a right engine says of them.
func truth(t *testing.T) (*views, answer, []diff.Change) {
	t.Helper()
	v := testcase{
		lower: []string{"file a; file c content=old"}, ops: "unlink a; create b abc; link b d; write c x; link d e",
	}.build(t, testenv.Tmpfs)
	want, err := reference(v)
	if err != nil {
		t.Fatal(err)
	}
	var changes []diff.Change
	for _, c := range want.changes {
		root := v.new
		if c.Kind == "delete" {
			root = v.old
		}
		kind, _ := diff.ParseKind(c.Kind)
		what, _ := diff.ParseWhat(c.What)
		e := statEntry(t, root+c.Path)
		e.Type, e.Size = diff.File, c.Size
		changes = append(changes, diff.Change{Kind: kind, What: what, Path: c.Path, Entry: e})
	}
	return v, want, changes
}

func statEntry(t *testing.T, path string) diff.Entry {
	t.Helper()
	st, err := lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return diff.Entry{
		Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Nlinks: uint32(st.Nlink), Inode: diff.Inode{Dev: st.Dev, Ino: st.Ino},
		Mtime: diff.Time{Sec: int64(st.Mtim.Sec), Nsec: uint32(st.Mtim.Nsec)},
	}
}

func TestCheckAnswer(t *testing.T) {
	v, want, right := truth(t)
	for name, test := range map[string]struct {
		spoil func(c []diff.Change) []diff.Change
		want  string // part of the error
	}{
		"right":       {func(c []diff.Change) []diff.Change { return c }, ""},
		"one missing": {func(c []diff.Change) []diff.Change { return c[1:] }, `/a`},
		"one more":    {func(c []diff.Change) []diff.Change { return append(c, diff.Change{Kind: diff.Delete, Path: "/z"}) }, `/z`},
		"wrong kind":  {func(c []diff.Change) []diff.Change { c[1].Kind = diff.Modify; return c }, `Kind:`},
		"wrong what":  {func(c []diff.Change) []diff.Change { c[2].What = diff.WhatMode; return c }, `What:`},
		"wrong size":  {func(c []diff.Change) []diff.Change { c[1].Entry.Size++; return c }, `Size:`},
		"wrong mode":  {func(c []diff.Change) []diff.Change { c[1].Entry.Mode = 0; return c }, `Mode:`},
		"wrong mtime": {func(c []diff.Change) []diff.Change { c[0].Entry.Mtime.Nsec++; return c }, `Nsec:`},
		"links apart": {func(c []diff.Change) []diff.Change { c[3].Entry.Inode.Ino = 0; return c }, "size of the diff is"},
		"links unknown": {func(c []diff.Change) []diff.Change {
			c[2].Entry.Nlinks, c[2].Entry.Inode = 2, c[1].Entry.Inode
			return c
		}, "size of the diff is"},
		"order": {func(c []diff.Change) []diff.Change { slices.Reverse(c); return c }, `/a`},
	} {
		e := &liar{changes: test.spoil(slices.Clone(right))}
		err := checkAnswer(t.Context(), e, v, want, diff.Options{})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(strings.ReplaceAll(err.Error(), "\u00a0", " "), test.want) {
			t.Errorf("%s: %v, want %q in it", name, err, test.want)
		}
	}
}

func TestCheckContract(t *testing.T) {
	_, _, right := truth(t)
	var files []*os.File
	stop := make(chan struct{})
	for name, test := range map[string]struct {
		e    *liar
		want string
	}{
		"right": {&liar{}, ""},
		"descriptor": {&liar{manners: func(diff.Options) {
			f, err := os.Open(os.TempDir())
			if err == nil {
				files = append(files, f)
			}
		}}, "open descriptors"},
		"goroutine": {&liar{manners: func(diff.Options) { go func() { <-stop }() }}, "goroutine"},
		"deaf":      {&liar{deaf: true}, "want context.Canceled"},
		"race":      {&liar{manners: func(o diff.Options) { callRace(o) }}, "where nothing runs"},
		"workers": {&liar{manners: func(o diff.Options) {
			if o.Workers == 8 {
				right[0].Path += "x"
			}
		}}, "8 workers"},
	} {
		test.e.changes = right
		err := checkContract(t.Context(), test.e, false)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", name, err, test.want)
		}
	}
	close(stop)
	for _, f := range files {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	refused := errors.Join(&diff.UnsupportedError{Op: "a", Reason: "b"}, nil)
	if !errors.Is(refused, diff.ErrUnsupported) {
		t.Error("a joined refusal is none")
	}
}

func callRace(o diff.Options) {
	if o.OnRace != nil {
		_ = o.OnRace("/a")
	}
}

func TestFeatures(t *testing.T) {
	for options, want := range map[string]diff.Features{
		"redirect_dir=nofollow":               {},
		"redirect_dir=on":                     {RedirectFollow: true},
		"redirect_dir=follow":                 {RedirectFollow: true},
		"metacopy=on":                         {RedirectFollow: true, Metacopy: true},
		"userxattr,xino=on":                   {UserXattr: true},
		"userxattr,index=on":                  {UserXattr: true, Index: true},
		"nfs_export=on,redirect_dir=nofollow": {Index: true, NFSExport: true},
	} {
		if parameter("index") || parameter("nfs_export") || parameter("metacopy") {
			t.Skip("needs overlay's module parameters at their defaults")
		}
		if got := features(options); got != want {
			t.Errorf("features(%q) = %+v, want %+v", options, got, want)
		}
	}
}

// TestReading holds what may be missed where contents are not read: that they
// differ, if the sizes don't, and so the whole change if nothing else does.
func TestReading(t *testing.T) {
	dir := t.TempDir()
	testenv.Tree(t, dir, "file a content=1", "file b content=22", "file c content=333", "file d content=4444", "link e d")
	change := func(path string, size int64, what ...string) refdiff.Change {
		return refdiff.Change{Kind: "modify", Path: path, Type: "file", Size: size, What: what}
	}
	all := answer{size: 1 + 2 + 3 + 4444, changes: []refdiff.Change{
		change("/a", 1, "content"), change("/b", 2, "mode", "content", "mtime"), change("/c", 3, "size", "content"),
		change("/d", 4444, "mtime"), change("/e", 4444, "mtime"), {Kind: "delete", Path: "/g", Type: "file", Size: 9},
	}}
	for _, content := range []diff.Content{"", diff.ContentAuto, diff.ContentAlways} {
		if got, missed, err := all.reading(content, nil); len(got.changes) != len(all.changes) || missed != nil || err != nil {
			t.Errorf("%q: %v, misses %v, %v", content, got, missed, err)
		}
	}
	got, missed, err := all.reading(diff.ContentNever, &views{new: dir})
	want := []string{"C /b mode,mtime", "C /c size,content", "C /d mtime", "C /e mtime", "D /g"}
	if !slices.Equal(lines(got.changes), want) || got.size != 2+3+4444 || err != nil {
		t.Errorf("never: %q, %d bytes, %v", lines(got.changes), got.size, err)
	}
	if want := []string{"C /a content", "C /b mode,content,mtime"}; !slices.Equal(lines(missed), want) {
		t.Errorf("never misses %q", lines(missed))
	}
}
