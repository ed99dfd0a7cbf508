package inode

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

func ref(t *testing.T, path string) *Ref {
	t.Helper()
	dir := filepath.Dir(path)
	fd, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	pool := fswalk.NewPool(0)
	t.Cleanup(func() { pool.Close(); sys.Close(fd) })
	r := &Ref{Dir: pool.Root(fd, dir), Name: filepath.Base(path)}
	if err := r.Dir.Stat(r.Name, sys.StatAll, &r.Stat); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestClassify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("12345"), 0o640); err != nil {
		t.Fatal(err)
	}
	f := ref(t, path)
	boom := errors.New("boom")
	for _, test := range []struct {
		from, to *Ref
		what     diff.What
		fails    error
		want     diff.Kind
	}{
		{nil, nil, 0, boom, 0},
		{f, nil, 0, boom, diff.Delete},
		{nil, f, 0, boom, diff.Add},
		{f, f, 0, nil, 0},
		{f, f, diff.WhatMode, nil, diff.Modify},
		{f, f, diff.WhatMode, boom, 0},
	} {
		c, err := Classify("/f", test.from, test.to, func() (diff.What, error) { return test.what, test.fails })
		compared := test.from != nil && test.to != nil
		if c.Kind != test.want || compared && !errors.Is(err, test.fails) || !compared && err != nil {
			t.Errorf("%+v: got %v, %v", test, c, err)
		}
		if c.Kind != 0 && (c.Path != "/f" || c.Entry.Type != diff.File || c.Entry.Size != 5 || c.Entry.Mode != 0o640) {
			t.Errorf("%+v: got %+v", test, c)
		}
		if c.Kind == diff.Modify && c.What != test.what {
			t.Errorf("%+v: differs in %v", test, c.What)
		}
	}
}

func TestAttempt(t *testing.T) {
	for _, test := range []struct {
		why            string
		errs           []error // one a try
		settled, raced bool
		fails          bool
	}{
		{"at once", []error{nil}, true, false, false},
		{"gone, then there", []error{syscall.ENOENT, nil}, true, true, false},
		{"twice", []error{&fs.PathError{Err: syscall.ENOTDIR}, ErrSwapped, nil}, true, true, false},
		{"never", []error{syscall.ENOENT, syscall.ELOOP, syscall.ENOENT, nil}, false, true, false},
		{"an error", []error{syscall.EIO, nil}, false, false, true},
		{"gone, then an error", []error{syscall.ENOENT, syscall.EIO}, false, true, true},
		{"a stale handle is an error", []error{syscall.ESTALE}, false, false, true},
	} {
		var a Attempt
		var err error
		i := 0
		for again := true; again; again = a.Again(err) {
			err = test.errs[i]
			i++
		}
		settled, failed := err == nil, err != nil && !Vanished(err)
		if settled != test.settled || a.Raced != test.raced || failed != test.fails {
			t.Errorf("%s: settled %v, raced %v, %v", test.why, settled, a.Raced, err)
		}
	}
}

// A fifo or another file in the place of the one that stat saw is not read, and
// a fifo does not block.
func TestOpen_Swapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for name, swap := range map[string]func() error{
		"fifo":    func() error { return syscall.Mkfifo(path, 0o600) },
		"file":    func() error { return os.WriteFile(path, nil, 0o600) },
		"symlink": func() error { return os.Symlink("/etc/passwd", path) },
		"dir":     func() error { return os.Mkdir(path, 0o700) },
		"nothing": func() error { return nil },
	} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := ref(t, path)
		if err := os.Rename(path, path+name); err != nil { // kept, so that its number is not used again
			t.Fatal(err)
		}
		if err := swap(); err != nil {
			t.Fatal(err)
		}
		if fd, err := r.Open(); !Vanished(err) {
			t.Errorf("%s: opened %d, %v", name, fd, err)
		}
		_ = os.Remove(path)
	}
}

// What could not be opened because it was something else for a moment, and is
// itself again before anyone looks, is opened; on tmpfs and ext4 its times are the
// same then if all that was within a tick of the clock.
func TestOpen_SwappedAndBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := ref(t, path)
	again := func() (fd int, err error) {
		err = r.Dir.Use(func(dirfd int) error {
			fd, err = r.openPinned(dirfd, syscall.EACCES)
			return err
		})
		return fd, err
	}
	fd, err := again()
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close(fd)
	if n, err := sys.PreadFull(fd, make([]byte, 2), 0); n != 1 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if err := os.Rename(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	if _, err := again(); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("gone: %v", err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := again(); !errors.Is(err, ErrSwapped) {
		t.Errorf("swapped: %v", err)
	}
}

func TestChanges_Races(t *testing.T) {
	walk := func(*fswalk.Pool) iter.Seq2[Found, error] {
		return func(yield func(Found, error) bool) {
			for i := range 3 {
				f := Found{Raced: i == 1, Change: diff.Change{Kind: diff.Add, Path: fmt.Sprintf("/%d", i)}}
				if !yield(f, nil) {
					return
				}
			}
		}
	}
	collect := func(opts diff.Options) (got []string, failed error) {
		for c, err := range Changes(opts, walk) {
			if err != nil {
				failed = err
				continue
			}
			got = append(got, c.String())
		}
		return got, failed
	}
	if got, err := collect(diff.Options{}); len(got) != 2 || err != nil {
		t.Errorf("ignored: %q, %v", got, err)
	}
	raced := ""
	if got, err := collect(diff.Options{OnRace: func(p string) error { raced += p; return nil }}); len(got) != 2 || err != nil || raced != "/1" {
		t.Errorf("counted: %q, %v, raced %q", got, err, raced)
	}
	if got, err := collect(diff.Options{OnRace: func(p string) error { return &diff.RaceError{Path: p} }}); len(got) != 1 || err == nil {
		t.Errorf("strict: %q, %v", got, err)
	}
}

func TestSettle(t *testing.T) {
	boom, told := errors.New("boom"), errors.New("told")
	for _, test := range []struct {
		raced bool
		err   error
		want  error // nil: none
	}{
		{false, nil, nil},
		{true, nil, told},
		{false, boom, boom},
		{true, boom, boom},
	} {
		opts := diff.Options{OnRace: func(string) error { return told }}
		if err := Settle("explain", "/f", test.raced, test.err, opts); !errors.Is(err, test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
	if err := Settle("explain", "/f", true, nil, diff.Options{}); err != nil {
		t.Errorf("a race that nobody asks for: %v", err)
	}
	var race *diff.RaceError
	if err := Settle("explain", "/f", true, syscall.ENOENT, diff.Options{}); !errors.As(err, &race) || race.Path != "/f" {
		t.Errorf("what never stays is %v", err)
	}
	if err := Settle("explain", "/a\nb", false, boom, diff.Options{}); err == nil || err.Error() != `explain "/a\nb": boom` {
		t.Error(err)
	}
}
