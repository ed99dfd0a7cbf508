package fswalk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

func openRoot(t *testing.T, pool *Pool, path string) *Dir {
	t.Helper()
	fd, err := sys.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Close(fd) })
	return pool.Root(fd, path)
}

func child(t *testing.T, d *Dir, name string) *Dir {
	t.Helper()
	var st sys.Stat
	if err := d.Stat(name, sys.StatAll, &st); err != nil {
		t.Fatal(err)
	}
	return d.Child(name, st.Dev, st.Ino)
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Depth costs time, never descriptors.
func TestPoolBoundsDescriptors(t *testing.T) {
	const depth, limit = 1500, 8
	pool := NewPool(limit)
	d := openRoot(t, pool, t.TempDir())
	fds := openDescriptors(t)
	chain := []*Dir{d}
	for range depth {
		err := d.Use(func(fd int) error { return syscall.Mkdirat(fd, "d", 0o755) })
		if err != nil {
			t.Fatal(err)
		}
		d = child(t, d, "d")
		chain = append(chain, d)
	}
	for i := len(chain) - 1; i >= 0; i -= 7 { // upwards again, everything closed meanwhile
		list, err := chain[i].List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := min(1, depth-i); len(list) != want {
			t.Fatalf("level %d has %d entries, want %d", i, len(list), want)
		}
		if n := openDescriptors(t) - fds; n > limit+3 {
			t.Fatalf("%d descriptors open, limit %d", n, limit)
		}
	}
	pool.Close()
	if n := openDescriptors(t); n != fds {
		t.Errorf("%d descriptors left", n-fds)
	}
}

func TestListIsSortedAndWhole(t *testing.T) {
	root := t.TempDir()
	pool := NewPool(0)
	defer pool.Close()
	d := openRoot(t, pool, root)
	if list, err := d.List(t.Context()); err != nil || len(list) != 0 {
		t.Fatalf("empty directory: %v, %v", list, err)
	}
	const n = 5000
	for i := range n {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("name-%05d-%0200d", (i*7919)%n, i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := d.List(t.Context())
	if err != nil || len(list) != n {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	for i, e := range list {
		if want := fmt.Sprintf("name-%05d", i); e.Name[:len(want)] != want {
			t.Fatalf("entry %d is %s", i, e.Name)
		}
	}
}

// What took the place of a directory is not taken for it: not when it is no
// directory, and not when the walk comes back to it.
func TestSwappedDirectoryIsRefused(t *testing.T) {
	canary := t.TempDir()
	for _, test := range []struct {
		name  string
		known bool // it was open before
		swap  func(path string) error
	}{
		{"symlink", false, func(p string) error { return os.Symlink(canary, p) }},
		{"file", false, func(p string) error { return os.WriteFile(p, nil, 0o600) }},
		{"symlink, on return", true, func(p string) error { return os.Symlink(canary, p) }},
		{"directory, on return", true, func(p string) error { return os.Mkdir(p, 0o755) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			p := filepath.Join(root, "d")
			for _, dir := range []string{p, filepath.Join(root, "other")} {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			pool := NewPool(1)
			defer pool.Close()
			d := openRoot(t, pool, root)
			c := child(t, d, "d")
			if test.known {
				for _, d := range []*Dir{c, child(t, d, "other")} { // the second closes the first
					if _, err := d.List(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			// Kept, so that the inode number is not used again.
			if err := os.Rename(p, p+".old"); err != nil {
				t.Fatal(err)
			}
			if err := test.swap(p); err != nil {
				t.Fatal(err)
			}
			var pe *os.PathError
			if _, err := c.List(t.Context()); !errors.As(err, &pe) || pe.Path != p {
				t.Errorf("listing what took the directory's place: %v", err)
			}
		})
	}
}

// Two pools list one descriptor, the one while the other does, and leave none open.
func TestRootsShareADescriptor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	for i := range 3 {
		if err := os.MkdirAll(fmt.Sprintf("%s/%d", dir, i), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	first := openRoot(t, NewPool(8), dir)
	second := NewPool(8).Root(first.fd, dir)
	fds, seen := openDescriptors(t), 0
	err := first.Visit(t.Context(), func(sys.Dirent) bool {
		seen++
		list, err := second.List(t.Context())
		if err != nil || len(list) != 3 {
			t.Errorf("the other lists %v, %v", list, err)
		}
		return true
	})
	if err != nil || seen != 3 {
		t.Errorf("%d entries, %v", seen, err)
	}
	if n := openDescriptors(t); n != fds {
		t.Errorf("%d descriptors are open, %d were before", n, fds)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	var at *os.PathError
	if _, err := first.List(t.Context()); !errors.As(err, &at) || at.Path != dir {
		t.Errorf("of a removed root: %v", err)
	}
}
