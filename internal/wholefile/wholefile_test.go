package wholefile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const user = 1000

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shared makes a directory as /tmp is, and beside it a file of root's.
func shared(t *testing.T) (dir, precious string) {
	t.Helper()
	testenv.RequireRoot(t)
	top := t.TempDir()
	dir, precious = filepath.Join(top, "shared"), filepath.Join(top, "precious")
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.Chmod(dir, 0o777|os.ModeSticky))
	must(t, os.WriteFile(precious, []byte("root's own"), 0o600))
	return dir, precious
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != want {
		t.Errorf("%s has %q, %v; want %q", path, b, err, want)
	}
}

// What another user puts into a shared directory is refused, whatever the sysctls of
// the machine are; what is one's own is used.
func TestWrite_Planted(t *testing.T) {
	dir, precious := shared(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		name, to string // where the output goes
		make     func(path string) error
		planted  string
	}{
		{"a link to a file", at("f"), func(p string) error { return os.Symlink("../precious", p) }, at("f")},
		{"a link to nothing", at("new"), func(p string) error { return os.Symlink("../made", p) }, at("new")},
		{"a link to a directory", at("d/precious"), func(p string) error { return os.Symlink("..", p) }, at("d")},
		{"a fifo", at("fifo"), func(p string) error { return syscall.Mkfifo(p, 0o666) }, at("fifo")},
	} {
		t.Run(c.name, func(t *testing.T) {
			must(t, c.make(c.planted))
			must(t, os.Lchown(c.planted, user, user))
			if err := Write(c.to, text("new")); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("error %v, want one that permission is denied", err)
			}
			holds(t, precious, "root's own")
			if _, err := os.Lstat(filepath.Join(filepath.Dir(dir), "made")); err == nil {
				t.Error("a file was made where the link leads")
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 {
				t.Errorf("in the directory are %v", entries)
			}
			must(t, os.Lchown(c.planted, 0, 0))
			must(t, os.Remove(c.planted))
		})
	}
}

// One's own links are followed, and what they lead to is replaced, not the link.
func TestWrite_Links(t *testing.T) {
	dir, precious := shared(t)
	for _, target := range []string{"../precious", precious, "two"} {
		link := filepath.Join(dir, "link")
		must(t, os.Symlink("../precious", filepath.Join(dir, "two")))
		must(t, os.Symlink(target, link))
		must(t, Write(link, text(target)))
		holds(t, precious, target)
		if to, err := os.Readlink(link); err != nil || to != target {
			t.Errorf("the link leads to %q, %v", to, err)
		}
		must(t, errors.Join(os.Remove(link), os.Remove(filepath.Join(dir, "two"))))
	}
	loop := filepath.Join(dir, "loop")
	must(t, os.Symlink("loop", loop))
	if err := Write(loop, text("")); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a link to itself: %v", err)
	}
}

// Another user's file in a shared directory is replaced by one of our own: who has it
// open sees nothing.
func TestWrite_Replaces(t *testing.T) {
	dir, _ := shared(t)
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("old"), 0o666))
	must(t, os.Chown(path, user, user))
	theirs, err := os.Open(path)
	must(t, err)
	defer theirs.Close()
	must(t, Write(path, text("new")))
	holds(t, path, "new")
	if b, err := io.ReadAll(theirs); err != nil || string(b) != "old" {
		t.Errorf("%q, %v", b, err)
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Error("the file is still the user's")
	}
}

// A fifo of one's own, and what /dev/fd names, are written to as they are.
func TestWrite_Into(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	got := make(chan string, 1)
	go func() {
		b, _ := os.ReadFile(fifo)
		got <- string(b)
	}()
	must(t, Write(fifo, text("through")))
	select {
	case s := <-got:
		if s != "through" {
			t.Errorf("the fifo gave %q", s)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came out of the fifo")
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	must(t, err)
	defer f.Close()
	must(t, os.WriteFile(f.Name(), []byte("what was there is longer"), 0o600))
	must(t, Write("/proc/self/fd/"+fd(f), text("by number")))
	holds(t, f.Name(), "by number")
	if err := Write(t.TempDir(), text("")); !errors.Is(err, syscall.EISDIR) && err == nil {
		t.Errorf("a directory: %v", err)
	}
}

func fd(f *os.File) string { return strconv.Itoa(int(f.Fd())) }
