package inode

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

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
