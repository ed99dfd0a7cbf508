package torture_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// fanotify(7); package syscall has the numbers of the calls only.
const (
	fanCloexec, fanNonblock, fanUnlimited = 0x1, 0x2, 0x10
	fanAdd, fanFileSystem                 = 0x1, 0x100
	fanAccess, fanOpen, fanOnDir          = 0x1, 0x20, 0x40000000
	fanEventSize                          = 24
)

// canary is a tree that no layer has and that whatever is in a layer may lead to. It
// is a file system of its own: whoever opens or reads anything in it, by whatever
// mount of it, is noted. Nobody can change it.
type canary struct {
	path string
	fd   int
}

// more adds to what is in it.
func newCanary(t *testing.T, more ...func(dir string)) *canary {
	t.Helper()
	testenv.RequireRoot(t)
	c := &canary{path: filepath.Join(t.TempDir(), "canary")}
	testenv.Tree(t, c.path)
	mount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("canary", c.path, "tmpfs", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	mount(0)
	t.Cleanup(func() {
		if err := syscall.Unmount(c.path, 0); err != nil {
			t.Error(err)
		}
	})
	testenv.Tree(t, c.path, "file f content=canary", "file p0/q0/f content=canary", "file q0/f content=canary", "file d/sub/f content=canary")
	for _, add := range more {
		add(c.path)
	}
	mount(syscall.MS_REMOUNT | syscall.MS_RDONLY)

	fd, _, errno := syscall.Syscall(syscall.SYS_FANOTIFY_INIT, fanCloexec|fanNonblock|fanUnlimited, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		t.Fatalf("fanotify_init: %v", errno)
	}
	c.fd = int(fd)
	t.Cleanup(func() { syscall.Close(c.fd) })
	dir, err := os.Open(c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	// Without a path, the file system of the descriptor is meant.
	if _, _, errno := syscall.Syscall6(syscall.SYS_FANOTIFY_MARK, fd, fanAdd|fanFileSystem, fanAccess|fanOpen|fanOnDir, dir.Fd(), 0, 0); errno != 0 {
		t.Fatalf("fanotify_mark: %v", errno)
	}
	return c
}

// touched returns what was opened or read since the last call by anybody but the
// processes in allowed.
func (c *canary) touched(t *testing.T, allowed ...int) (by []string) {
	t.Helper()
	for buf := make([]byte, 1<<16); ; {
		n, err := syscall.Read(c.fd, buf)
		if err == syscall.EAGAIN {
			return by
		}
		if err != nil {
			t.Fatalf("read what fanotify has seen: %v", err)
		}
		for b := buf[:n]; len(b) >= fanEventSize; b = b[binary.NativeEndian.Uint32(b):] {
			fd, pid := int(int32(binary.NativeEndian.Uint32(b[16:]))), int(int32(binary.NativeEndian.Uint32(b[20:])))
			name, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			syscall.Close(fd)
			if !slices.Contains(allowed, pid) {
				by = append(by, fmt.Sprintf("%s by process %d (this one is %d)", name, pid, os.Getpid()))
			}
		}
	}
}

// untouched fails the test if anything in the tree was opened or read since the last
// call by anybody but the allowed, and makes sure that it would have been noticed.
func (c *canary) untouched(t *testing.T, allowed ...int) {
	t.Helper()
	for _, by := range c.touched(t, allowed...) {
		t.Errorf("outside of the layers, something was read: %s", by)
	}
	if _, err := os.ReadFile(filepath.Join(c.path, "p0/q0/f")); err != nil || len(c.touched(t)) == 0 {
		t.Errorf("the canary is deaf: %v", err)
	}
	if _, err := os.ReadDir(filepath.Join(c.path, "d")); err != nil || len(c.touched(t)) == 0 {
		t.Errorf("the canary is deaf: %v", err)
	}
}
