package paths

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// all follows every link.
var all = Rules{Follow: func(_, _ *sys.Stat) (func(*sys.Stat) error, error) { return nil, nil }}

// lead walks a path from a directory that is the root as well.
func lead(t *testing.T, r Rules, root, path string) (*Place, error) {
	t.Helper()
	fd, err := sys.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close(fd)
	return r.Walk(fd, fd, path)
}

func TestWalk(t *testing.T) {
	top := t.TempDir()
	root := filepath.Join(top, "root")
	testenv.Tree(t, root, "file a/b/f content=f", "dir c", "symlink rel -> a/b", "symlink abs -> /a/b", "symlink up -> ../../../../a", "symlink two -> rel/../../abs",
		"symlink a/back -> ..", "symlink loop -> loop", "symlink none -> a/none", "symlink toFile -> a/b/f", "file out content=inside")
	testenv.Tree(t, top, "file out content=outside")
	for path, want := range map[string]string{
		"a/b/f": "a/b/f", "/a//b/./f": "a/b/f", "rel/f": "a/b/f", "abs/f": "a/b/f", "up/b/f": "a/b/f", "two/f": "a/b/f",
		"a/back/a/b/f": "a/b/f", "toFile": "a/b/f", "a/b/../../out": "out", "../../out": "out", "a/b/../../../out": "out",
		"none": "a/none", "c/new": "c/new", "c": "c", "c/": "c", ".": ".", "/": ".", "..": ".", "a/b/..": "a", "rel/..": "a",
	} {
		place, err := lead(t, all, root, path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got := place.Path(); got != want {
			t.Errorf("%s leads to %q, want %q", path, got, want)
		}
		if _, err := os.Lstat(filepath.Join(root, want)); (err == nil) != (place.FD >= 0) {
			t.Errorf("%s: descriptor %d, and %v", path, place.FD, err)
		}
		if place.Stat.Format() == sys.Regular {
			if fd, err := place.OpenFile(); err != nil {
				t.Errorf("%s: %v", path, err)
			} else {
				sys.Close(fd)
			}
		}
		place.Close()
	}
	for path, want := range map[string]error{
		"loop": syscall.ELOOP, "none/x": fs.ErrNotExist, "out/x": syscall.ENOTDIR, "out/": syscall.ENOTDIR, "new/": fs.ErrNotExist, "new/x": fs.ErrNotExist,
		strings.Repeat("a/back/", 50): syscall.ELOOP, strings.Repeat("x", 300): syscall.ENAMETOOLONG,
	} {
		if place, err := lead(t, all, root, path); !errors.Is(err, want) || place != nil {
			t.Errorf("%.20s: %v, want %v", path, err, want)
		}
	}
	if _, err := lead(t, Rules{}, root, "rel/f"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("without a rule for links: %v", err)
	}
	missing := all
	missing.Missing = true
	if place, err := lead(t, missing, root, "rel/x/../y"); err != nil || place.Path() != "a/b/y" || place.FD >= 0 {
		t.Errorf("%v", err)
	} else {
		place.Close()
	}
}

// The rules are asked about each directory and link, and about what a link led to.
func TestWalk_Rules(t *testing.T) {
	root := t.TempDir()
	testenv.Tree(t, root, "file a/b/f content=f", "symlink c/l -> ../a")
	entered, landed := 0, 0
	refuse := errors.New("refused")
	r := Rules{
		Enter: func(int, *sys.Stat) error { entered++; return nil },
		Follow: func(dir, link *sys.Stat) (func(*sys.Stat) error, error) {
			if dir.Format() != sys.Directory || link.Format() != sys.Link {
				t.Errorf("%+v, %+v", dir, link)
			}
			return func(*sys.Stat) error { landed++; return nil }, nil
		},
	}
	place, err := lead(t, r, root, "c/l/b/f")
	if err != nil || entered != 3 || landed != 1 {
		t.Fatalf("%v: %d directories, %d links", err, entered, landed)
	}
	place.Close()
	for _, r := range []Rules{
		{Follow: all.Follow, Enter: func(_ int, st *sys.Stat) error { return refuse }},
		{Follow: func(_, _ *sys.Stat) (func(*sys.Stat) error, error) { return nil, refuse }},
		{Follow: func(_, _ *sys.Stat) (func(*sys.Stat) error, error) {
			return func(*sys.Stat) error { return refuse }, nil
		}},
	} {
		if _, err := lead(t, r, root, "c/l/b"); !errors.Is(err, refuse) {
			t.Errorf("%v", err)
		}
	}
}

// What has the name when it is opened must be what was found.
func TestPlace_Swapped(t *testing.T) {
	root := t.TempDir()
	testenv.Tree(t, root, "file f content=f", "file g content=g", "symlink l -> g")
	for _, other := range []string{"g", "l"} {
		place, err := lead(t, all, root, "f")
		if err != nil {
			t.Fatal(err)
		}
		swap := func() {
			if err := sys.RenameExchange(filepath.Join(root, "f"), filepath.Join(root, other)); err != nil {
				t.Fatal(err)
			}
		}
		swap()
		for _, open := range []func() (int, error){place.OpenFile, place.OpenWrite} {
			if fd, err := open(); err == nil {
				sys.Close(fd)
				t.Errorf("with %s in its place, it was opened", other)
			}
		}
		swap()
		place.Close()
	}
}

func TestMakeOutputDir(t *testing.T) {
	root := t.TempDir()
	testenv.Tree(t, root, "dir d", "symlink own -> d", "file f")
	for _, path := range []string{"new/a/b", "own/x", "d", "d/"} {
		if err := MakeOutputDir(filepath.Join(root, path)); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(filepath.Join(root, path)); err != nil || !info.IsDir() {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := MakeOutputDir(filepath.Join(root, "f/x")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
}

// The current directory is where relative paths begin, and "/dev/fd" leads to what is
// open.
func TestOutput(t *testing.T) {
	root := t.TempDir()
	testenv.Tree(t, root, "dir d")
	t.Chdir(filepath.Join(root, "d"))
	for path, want := range map[string]string{"f": "d/f", "../f": "f", "./../d/f": "d/f"} {
		place, err := Output(path, false)
		if err != nil {
			t.Fatal(err)
		}
		f, err := sys.TempFile(place.Dir(), path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(f, path)
		if err := errors.Join(err, f.Publish(place.Name), f.Close()); err != nil {
			t.Fatal(err)
		}
		place.Close()
		if b, err := os.ReadFile(filepath.Join(root, want)); err != nil || string(b) != path {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	place, err := Output("/dev/fd/"+itoa(w.Fd()), false)
	if err != nil || !place.Magic || place.Stat.Format() != sys.Fifo {
		t.Fatalf("%+v, %v", place, err)
	}
	place.Close()
	if _, err := Output("", false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty path: %v", err)
	}
}

func itoa(fd uintptr) string { return strconv.Itoa(int(fd)) }
