package overlaydiff

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/rawgen"
)

// mounted makes an overlay over "file a; dir d; file d/b" and returns it.
func mounted(t *testing.T, options string) diff.Stack {
	t.Helper()
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	s := diff.Stack{
		Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
		Features: diff.Features{RedirectFollow: true},
	}
	testenv.Tree(t, s.Lower[0], "file a content=old", "file d/b content=b", "link d/c d/b")
	s.Mountpoint = testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work, Options: options})
	return s
}

func list(t *testing.T, d *Diff) (lines []string) {
	t.Helper()
	for c, err := range d.Changes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, c.String())
	}
	return lines
}

func TestOpen_ChoosesAndSaysWhy(t *testing.T) {
	s := mounted(t, "")
	testenv.Do(t, s.Mountpoint, "unlink a")
	strange := s
	strange.Unknown = []string{"brand_new"}
	for _, test := range []struct {
		stack        diff.Stack
		choice       Choice
		engine, says string
	}{
		{s, "", "native", "every overlayfs feature"},
		{s, Auto, "native", "every overlayfs feature"},
		{s, Native, "native", "asked for"},
		{s, Naive, "naive", "asked for"},
		{strange, Auto, "naive", "brand_new"},
	} {
		d, err := Open(t.Context(), test.stack, Options{Engine: test.choice})
		if err != nil {
			t.Errorf("%q: %v", test.choice, err)
			continue
		}
		if d.Engine() != test.engine || !strings.Contains(d.Reason(), test.says) {
			t.Errorf("%q: %s engine, %q", test.choice, d.Engine(), d.Reason())
		}
		if got := cmp.Diff([]string{"D /a"}, list(t, d)); got != "" {
			t.Errorf("%q: %s", test.choice, got)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Open(t.Context(), strange, Options{Engine: Native}); !errors.Is(err, diff.ErrUnsupported) || !strings.Contains(err.Error(), "brand_new") {
		t.Errorf("native with an unknown option: %v", err)
	}
	strange.Mountpoint = ""
	if _, err := Open(t.Context(), strange, Options{}); !errors.Is(err, diff.ErrUnsupported) {
		t.Errorf("an unknown option and no mount: %v", err)
	}
	if _, err := Open(t.Context(), s, Options{Engine: "fast"}); err == nil {
		t.Error("an engine called fast")
	}
}

// An origin mark by hand can make a directory of the upper layer look like a lower layer. No
// overlay has such layers.
func TestFromMount_NotInsideUpper(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := testenv.Scratch(t, fs)
		lower, upper := filepath.Join(dir, "lower"), filepath.Join(dir, "upper")
		testenv.Tree(t, lower)
		testenv.Tree(t, upper, "file b content=x", "file d/b content=x")
		b := rawgen.Builder{Dirs: map[string]string{"U": upper}}
		if b.Do([]rawgen.Op{{Verb: "handle", At: "U/b", Args: []string{"trusted.overlay.origin", "U/d/b"}}}) != 1 {
			t.Fatal("the mark can't be set")
		}
		merged := testenv.Mount(t, testenv.Overlay{Lower: []string{lower}, Upper: upper})
		s, err := FromMount(t.Context(), merged)
		if err != nil {
			if !errors.As(err, new(*mountutil.LayerError)) {
				t.Error(err)
			}
			return
		}
		if s.Lower[0] != lower || s.Proven() {
			t.Errorf("the lower layer is %s, proven: %v", s.Lower[0], s.Proven())
		}
	})
}

func TestFromMount_Answers(t *testing.T) {
	s := mounted(t, "redirect_dir=on,metacopy=on,index=on")
	testenv.Do(t, s.Mountpoint, "rename d e", "chmod a 600", "write e/b x")
	stack, err := FromMount(t.Context(), s.Mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	for _, choice := range []Choice{Native, Naive} {
		d, err := Open(t.Context(), stack, Options{Engine: choice})
		if err != nil {
			t.Fatal(err)
		}
		if got := cmp.Diff([]string{"C /a", "D /d", "A /e", "A /e/b", "A /e/c"}, list(t, d)); got != "" {
			t.Errorf("%s: %s", choice, got)
		}
		// b and c are one inode, which counts once.
		if n, err := d.Size(t.Context()); n != 3+2 || err != nil {
			t.Errorf("%s: size %d, %v", choice, n, err)
		}
		if n := d.Raced(); n != 0 {
			t.Errorf("%s: %d raced", choice, n)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	u, err := Usage(t.Context(), stack, Options{})
	if err != nil || u.Bytes != 5 || u.Whiteouts != 1 {
		t.Errorf("usage %+v, %v", u, err)
	}
}

func TestOpen_Errors(t *testing.T) {
	s := mounted(t, "")
	file := filepath.Join(s.Lower[0], "a")
	for name, edit := range map[string]func(*diff.Stack) error{
		"upper missing": func(s *diff.Stack) error { s.Upper += "/none"; return fs.ErrNotExist },
		"lower missing": func(s *diff.Stack) error { s.Lower = []string{s.Lower[0], s.Upper + "/none"}; return fs.ErrNotExist },
		"upper a file":  func(s *diff.Stack) error { s.Upper = file; return syscall.ENOTDIR },
		"lower a file":  func(s *diff.Stack) error { s.Lower = []string{file}; return syscall.ENOTDIR },
		"no upper":      func(s *diff.Stack) error { s.Upper = ""; return nil },
		"no lower":      func(s *diff.Stack) error { s.Lower = nil; return nil },
	} {
		for _, choice := range []Choice{Auto, Native, Naive} {
			stack := s
			want := edit(&stack)
			_, err := Open(t.Context(), stack, Options{Engine: choice})
			if err == nil || want != nil && !errors.Is(err, want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s, %s: %v", name, choice, err)
			}
		}
	}
}

func TestOpenTrees(t *testing.T) {
	dir := t.TempDir()
	testenv.Tree(t, dir, "file old/a content=1", "file old/same", "file new/a content=22", "file new/same", "file new/n", "symlink alias -> old/..", "file f")
	path := func(name string) string { return filepath.Join(dir, name) }
	d, err := OpenTrees(t.Context(), path("old"), path("new"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := cmp.Diff([]string{"C /a", "A /n"}, list(t, d)); got != "" {
		t.Error(got)
	}
	if n, err := d.Size(t.Context()); n != 2 || err != nil {
		t.Errorf("size %d, %v", n, err)
	}
	var nested *NestedError
	for _, pair := range [][2]string{{"old", "."}, {".", "new"}, {"old", "alias"}} {
		if _, err := OpenTrees(t.Context(), path(pair[0]), path(pair[1]), Options{}); !errors.As(err, &nested) {
			t.Errorf("%s and %s: %v", pair[0], pair[1], err)
		}
	}
	if _, err := OpenTrees(t.Context(), path("old"), path("none"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := OpenTrees(t.Context(), path("f"), path("new"), Options{}); !errors.Is(err, syscall.ENOTDIR) {
		t.Error(err)
	}
	if _, err := OpenTrees(t.Context(), path("old"), path("new"), Options{Engine: Native}); !errors.Is(err, diff.ErrUnsupported) {
		t.Error(err)
	}
	self, err := OpenTrees(t.Context(), path("old"), path("old"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if got := list(t, self); got != nil {
		t.Errorf("a tree and itself: %q", got)
	}
}

// An entry that vanishes between listing and stat is counted, and an error if
// that is asked for.
func TestRaces(t *testing.T) {
	dir := t.TempDir()
	testenv.Tree(t, dir, "dir old", "dir new")
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			for j := range 200 {
				name := filepath.Join(dir, "new", string(rune('a'+j%26))+strings.Repeat("x", j))
				if (i+j)%2 == 0 {
					_ = os.WriteFile(name, nil, 0o600)
				} else {
					_ = os.Remove(name)
				}
			}
		}
	}()
	defer func() { close(stop); <-done }()

	d, err := OpenTrees(t.Context(), filepath.Join(dir, "old"), filepath.Join(dir, "new"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 2000 {
		list(t, d)
		if d.Raced() > 0 {
			break
		}
	}
	if d.Raced() == 0 {
		t.Fatal("no race in 2000 walks of a directory that changes all the time")
	}
	strict, err := OpenTrees(t.Context(), filepath.Join(dir, "old"), filepath.Join(dir, "new"), Options{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	defer strict.Close()
	var race *diff.RaceError
	for range 2000 {
		for _, err := range strict.Changes(t.Context()) {
			if err != nil && !errors.As(err, &race) {
				t.Fatal(err)
			}
		}
		if race != nil {
			return
		}
	}
	t.Error("no race was an error")
}

// TestDiff_AtOnce: walks of one diff do not disturb each other.
func TestDiff_AtOnce(t *testing.T) {
	s := mounted(t, "")
	testenv.Do(t, s.Mountpoint, "write a new", "unlink d/b", "create n 1", "create d/n 2")
	for _, engine := range []Choice{Native, Naive} {
		d, err := Open(t.Context(), s, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		want := list(t, d)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 200 {
					if diff := cmp.Diff(want, list(t, d)); diff != "" {
						t.Errorf("%s: beside other walks (-alone +beside):\n%s", engine, diff)
						return
					}
				}
			})
		}
		wg.Wait()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestKinds_Reads: what the modification time shows to be changed is read only if
// somebody asks in what it differs, or wants its content.
func TestKinds_Reads(t *testing.T) {
	s := mounted(t, "")
	const size = 8 << 20
	content := bytes.Repeat([]byte{'x'}, size)
	for i, dir := range []string{s.Lower[0], s.Mountpoint} {
		if err := os.WriteFile(filepath.Join(dir, "big"), content, 0o644); err != nil {
			t.Fatal(err)
		}
		then := time.Unix(int64(1e9+i), 0)
		if err := os.Chtimes(filepath.Join(dir, "big"), then, then); err != nil {
			t.Fatal(err)
		}
	}
	for _, engine := range []Choice{Native, Naive} {
		d, err := Open(t.Context(), s, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		kinds, err := Open(t.Context(), s, Options{Engine: engine, Kinds: true})
		if err != nil {
			t.Fatal(err)
		}
		export := func() {
			if _, err := d.Export(t.Context(), io.Discard, layer.ExportOptions{}); err != nil {
				t.Error(err)
			}
		}
		changes := func(d *Diff) func() {
			return func() {
				for c, err := range d.Changes(t.Context()) {
					if err != nil || c.Path != "/big" || c.What != diff.WhatMtime {
						t.Errorf("%s: %v (%v), %v", engine, c, c.What, err)
					}
				}
			}
		}
		sum := func() {
			if n, err := d.Size(t.Context()); n != size || err != nil {
				t.Errorf("%s: size %d, %v", engine, n, err)
			}
		}
		for _, test := range []struct {
			name  string
			do    func()
			times int64 // that so much is read
		}{
			{"changes", changes(d), 2},
			{"kinds", changes(kinds), 0},
			{"size", sum, 0},
			{"export", export, 1},
		} {
			before := bytesRead(t)
			test.do()
			if got := (bytesRead(t) - before + size/2) / size; got != test.times {
				t.Errorf("%s: %s reads the file %d times, want %d", engine, test.name, got, test.times)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := kinds.Close(); err != nil {
			t.Error(err)
		}
	}
}
