package sys_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func open(t *testing.T, path string) int {
	t.Helper()
	fd, err := sys.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Close(fd) })
	return fd
}

// Nothing leads out of a directory, and links lead where it is the root.
func TestOpenDirBelow(t *testing.T) {
	dir := t.TempDir()
	testenv.Tree(t, dir, "dir out/d", "dir in/a/b", "file in/f", "symlink in/l -> a", "symlink in/abs -> /a/b",
		"symlink in/up -> ../out", "symlink in/out -> "+dir+"/out", "symlink in/magic -> /proc/self/root")
	root := open(t, filepath.Join(dir, "in"))
	for _, c := range []struct {
		path          string
		below, inRoot error
	}{
		{"a/b", nil, nil},
		{".", nil, nil},
		{"a/../a", nil, nil},
		{"l", syscall.ELOOP, nil},
		{"l/b", syscall.ELOOP, nil},
		{"abs", syscall.ELOOP, nil},
		{"..", syscall.EXDEV, nil},
		{"../out", syscall.EXDEV, syscall.ENOENT},
		{"up", syscall.ELOOP, syscall.ENOENT},
		{"out/d", syscall.ELOOP, syscall.ENOENT},
		{"/a", syscall.EXDEV, nil},
		{"magic", syscall.ELOOP, syscall.ENOENT},
		{"f", syscall.ENOTDIR, syscall.ENOTDIR},
		{"none", syscall.ENOENT, syscall.ENOENT},
	} {
		for resolve, want := range map[uint64]error{sys.NoLinks: c.below, sys.InRoot: c.inRoot} {
			fd, err := sys.OpenDirBelow(root, c.path, resolve)
			if err == nil {
				sys.Close(fd)
			}
			if !errors.Is(err, want) {
				t.Errorf("%s, %#x: got %v, want %v", c.path, resolve, err, want)
			}
		}
	}
}

// Metadata is that of the name itself, never of what a link leads to.
func TestSet_Links(t *testing.T) {
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Ext4)
	testenv.Tree(t, dir, "file f mtime=5", "symlink l -> f mtime=5", "fifo p")
	fd := open(t, dir)
	for _, err := range []error{
		sys.ChownAt(fd, "l", 7, 8),
		sys.SetXattr(fd, "l", "trusted.k", []byte("v")),
		sys.SetTimesAt(fd, "l", sys.Timespec{Nsec: sys.OmitTime}, sys.Timespec{Sec: 9, Nsec: 1}),
		sys.ChmodAt(fd, "p", 0o4751),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := sys.ChmodAt(fd, "l", 0o777); err == nil {
		t.Error("the mode of a link is set")
	}
	var f, l, p sys.Stat
	for name, st := range map[string]*sys.Stat{"f": &f, "l": &l, "p": &p} {
		if err := sys.StatAt(fd, name, sys.StatAll, st); err != nil {
			t.Fatal(err)
		}
	}
	if f.UID != 0 || f.Mtime.Sec != 5 || f.Mode&0o777 != 0o644 || l.UID != 7 || l.GID != 8 || l.Mtime != (sys.Timespec{Sec: 9, Nsec: 1}) || p.Mode&0o7777 != 0o4751 {
		t.Errorf("got %+v, %+v, %+v", f, l, p)
	}
	if has, err := sys.HasXattr(fd, "f", "trusted.k"); has || err != nil {
		t.Errorf("the link's target has the attribute: %v", err)
	}
	if v, ok, err := sys.GetXattr(fd, "l", "trusted.k"); string(v) != "v" || !ok || err != nil {
		t.Errorf("the link has %q, %v", v, err)
	}
	for range 2 {
		if err := sys.RemoveXattr(fd, "l", "trusted.k"); err != nil {
			t.Error(err)
		}
	}
	if has, err := sys.HasXattr(fd, "l", "trusted.k"); has || err != nil {
		t.Errorf("the attribute is still there: %v", err)
	}
}

func TestCreateAt(t *testing.T) {
	dir := t.TempDir()
	testenv.Tree(t, dir, "symlink l -> nowhere", "file f")
	fd := open(t, dir)
	for _, name := range []string{"l", "f"} {
		if _, err := sys.CreateAt(fd, name); !errors.Is(err, syscall.EEXIST) {
			t.Errorf("%s: %v", name, err)
		}
	}
	file, err := sys.CreateAt(fd, "new")
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close(file)
	if err := errors.Join(sys.PwriteFull(file, []byte("text"), 2), sys.Truncate(file, 8)); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "new")); string(b) != "\x00\x00text\x00\x00" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestMakeDevice(t *testing.T) {
	for _, c := range []struct {
		major, minor int64
		ok           bool
	}{{0, 0, true}, {4095, 1<<20 - 1, true}, {4096, 0, false}, {0, 1 << 20, false}, {-1, 0, false}, {0, -1, false}} {
		if dev, ok := sys.MakeDevice(c.major, c.minor); ok != c.ok || ok && dev == 0 != (c.major+c.minor == 0) {
			t.Errorf("%d:%d: %#x, %v", c.major, c.minor, dev, ok)
		}
	}
}
