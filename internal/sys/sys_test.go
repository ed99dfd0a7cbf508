package sys

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"
)

func dirWith(t *testing.T, files ...string) (path string, fd int) {
	t.Helper()
	path = t.TempDir()
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(path, f), []byte(f), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Close(fd) })
	return path, fd
}

func TestStatAt(t *testing.T) {
	path, fd := dirWith(t, "f")
	if err := os.Symlink("f", filepath.Join(path, "l")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f", "l", ""} {
		var got Stat
		var want syscall.Stat_t
		if err := StatAt(fd, name, StatAll, &got); err != nil {
			t.Fatal(name, err)
		}
		if err := syscall.Lstat(filepath.Join(path, name), &want); err != nil {
			t.Fatal(err)
		}
		if got.Mode != want.Mode || got.Ino != want.Ino || got.Dev != want.Dev || got.Size != want.Size ||
			got.Blocks != want.Blocks || got.Nlink != uint32(want.Nlink) ||
			got.Mtime.Sec != int64(want.Mtim.Sec) || int64(got.Mtime.Nsec) != int64(want.Mtim.Nsec) {
			t.Errorf("%q: got %+v, want %+v", name, got, want)
		}
	}
	for name, want := range map[string]syscall.Errno{
		"absent":                 syscall.ENOENT,
		strings.Repeat("x", 256): syscall.ENAMETOOLONG,
		"f\x00":                  syscall.EINVAL,
	} {
		if err := StatAt(fd, name, StatAll, new(Stat)); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", name, err, want)
		}
	}
}

// No call follows a symbolic link in the last component.
func TestLinksAreNotFollowed(t *testing.T) {
	path, fd := dirWith(t, "f")
	for name, target := range map[string]string{"tofile": "f", "todir": "/"} {
		if err := os.Symlink(target, filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenDirAt(fd, "todir"); err == nil {
		t.Error("a link was opened as a directory")
	}
	if _, err := OpenFileAt(fd, "tofile"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a link was opened as a file: %v", err)
	}
	if target, err := ReadLinkAt(fd, "todir"); err != nil || target != "/" {
		t.Errorf("got %q, %v", target, err)
	}
}

func TestReadLinkAt_Long(t *testing.T) {
	path, fd := dirWith(t)
	for _, n := range []int{1, 255, 256, 257, 1024, 4095} {
		want := strings.Repeat("x", n)
		if err := os.Symlink(want, filepath.Join(path, "l")); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadLinkAt(fd, "l"); err != nil || got != want {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
		if err := os.Remove(filepath.Join(path, "l")); err != nil {
			t.Fatal(err)
		}
	}
}

// The old calls, through /proc, answer as the new ones do.
func TestXattr_WithAndWithoutXattrAt(t *testing.T) {
	path, fd := dirWith(t, "f", "none")
	if err := os.Symlink("f", filepath.Join(path, "l")); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("v", 3000)
	for name, value := range map[string]string{"user.short": "1", "user.empty": "", "user.long": long} {
		if err := xattr.LSet(filepath.Join(path, "f"), name, []byte(value)); err != nil {
			t.Skipf("no user xattrs in %s: %v", path, err)
		}
	}
	if err := xattr.LSet(path, "user.dir", []byte("d")); err != nil {
		t.Fatal(err)
	}
	was := noXattrAt.Load()
	defer noXattrAt.Store(was)
	for _, forced := range []bool{false, true} {
		noXattrAt.Store(forced)
		for _, test := range []struct {
			name, attr, want string
			ok               bool
		}{
			{"f", "user.short", "1", true},
			{"f", "user.empty", "", true},
			{"f", "user.long", long, true},
			{"f", "user.absent", "", false},
			{"none", "user.short", "", false},
			{"l", "trusted.absent", "", false},
			{"", "user.dir", "d", true},
		} {
			got, ok, err := GetXattr(fd, test.name, test.attr)
			if err != nil || ok != test.ok || string(got) != test.want {
				t.Errorf("forced %v: %s of %q: got %d bytes, %v, %v", forced, test.attr, test.name, len(got), ok, err)
			}
			if has, err := HasXattr(fd, test.name, test.attr); err != nil || has != test.ok {
				t.Errorf("forced %v: has %s of %q: got %v, %v", forced, test.attr, test.name, has, err)
			}
		}
		names, err := ListXattr(fd, "f")
		slices.Sort(names)
		if err != nil || !slices.Equal(names, []string{"user.empty", "user.long", "user.short"}) {
			t.Errorf("forced %v: got %q, %v", forced, names, err)
		}
		if names, err := ListXattr(fd, "none"); err != nil || len(names) != 0 {
			t.Errorf("forced %v: got %q, %v", forced, names, err)
		}
		if _, err := ListXattr(fd, "absent"); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("forced %v: got %v, want ENOENT", forced, err)
		}
	}
}

func TestListXattr_Many(t *testing.T) {
	path, fd := dirWith(t, "f")
	const n = 60
	for i := range n {
		name := "user." + strings.Repeat(string(rune('a'+i%26)), 20) + string(rune('A'+i/26))
		if err := xattr.LSet(filepath.Join(path, "f"), name, nil); err != nil {
			t.Skipf("no room for %d xattrs in %s: %v", n, path, err)
		}
	}
	if names, err := ListXattr(fd, "f"); err != nil || len(names) != n {
		t.Errorf("got %d names, %v", len(names), err)
	}
}

func TestHotCallsDoNotAllocate(t *testing.T) {
	_, fd := dirWith(t, "f")
	was := noXattrAt.Load()
	defer noXattrAt.Store(was)
	for _, forced := range []bool{was, true} { // as on kernels before 6.13
		noXattrAt.Store(forced)
		hotCallsDoNotAllocate(t, fd)
	}
}

func hotCallsDoNotAllocate(t *testing.T, fd int) {
	var st Stat
	for name, call := range map[string]func(){
		"StatAt":            func() { _ = StatAt(fd, "f", StatAll, &st) },
		"HasXattr":          func() { _, _ = HasXattr(fd, "f", "user.absent") },
		"GetXattr (absent)": func() { _, _, _ = GetXattr(fd, "f", "user.absent") },
		"GetXattr (itself)": func() { _, _, _ = GetXattr(fd, "", "user.absent") },
		"ReadDir":           func() { _ = Rewind(fd); _ = ReadDir(fd, func(Dirent) bool { return true }) },
	} {
		if n := testing.AllocsPerRun(100, call); n >= 1 {
			t.Errorf("%s allocates %.0f times", name, n)
		}
	}
}

func TestPreadFullAndNextData(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size, at = 16 << 20, 8 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("data"), at); err != nil {
		t.Fatal(err)
	}
	fd := int(f.Fd())
	// A file system may not know holes; then all is data.
	if next := NextData(fd, 0, size); next != at && next != 0 {
		t.Errorf("first data at %d", next)
	}
	if next := NextData(fd, at+1<<20, size); next != size && next != at+1<<20 {
		t.Errorf("next data at %d", next)
	}
	b := make([]byte, 8)
	if n, err := PreadFull(fd, b, at); n != 8 || err != nil || string(b) != "data\x00\x00\x00\x00" {
		t.Errorf("got %d, %q, %v", n, b, err)
	}
	if n, err := PreadFull(fd, b, size-3); n != 3 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

func TestHandleAt(t *testing.T) {
	path, fd := dirWith(t, "f", "g")
	if err := os.Link(filepath.Join(path, "f"), filepath.Join(path, "h")); err != nil {
		t.Fatal(err)
	}
	handle := func(name string) Handle {
		h, err := HandleAt(fd, name)
		if err != nil {
			t.Skipf("no file handles in %s: %v", path, err)
		}
		return h
	}
	if f, g, h := handle("f"), handle("g"), handle("h"); f != h || f == g {
		t.Errorf("f %x, g %x, h (a link of f) %x", f, g, h)
	}
}

func FuzzParseDirents(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x18\x00\x08f\x00\x00\x00\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\xff\xff\x08name"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08name"))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		parseDirents(b, func(d Dirent) bool {
			name := d.Name
			if name == "" || name == "." || name == ".." || strings.IndexByte(name, 0) >= 0 {
				t.Errorf("visited %q", name)
			}
			total += len(name) + direntSize
			return true
		})
		if total > len(b) {
			t.Errorf("%d bytes of entries in %d", total, len(b))
		}
		// The bytes as names, in records as the kernel makes them, are those names.
		var records []byte
		var want, got []Dirent
		for i, name := range strings.Split(string(b[:min(len(b), 60_000)]), "\x00") {
			d := Dirent{Name: name, Ino: uint64(i), Type: byte(len(name))}
			size := (direntSize + len(name) + 1 + 7) &^ 7
			record := make([]byte, size)
			binary.NativeEndian.PutUint64(record, d.Ino)
			binary.NativeEndian.PutUint16(record[16:], uint16(size))
			record[18] = d.Type
			copy(record[direntSize:], name)
			records = append(records, record...)
			if name != "" && name != "." && name != ".." {
				want = append(want, d)
			}
		}
		parseDirents(records, func(d Dirent) bool {
			got = append(got, Dirent{strings.Clone(d.Name), d.Ino, d.Type})
			return true
		})
		if !slices.Equal(want, got) {
			t.Errorf("records of %+v are read as %+v", want, got)
		}
	})
}

// A signal that is pending makes getdents64 return early. What is listed does not depend on it.
func TestReadDirSome_Signals(t *testing.T) {
	dir := t.TempDir()
	want := []string{"a", "b", "c", "d", "e"}
	for _, name := range want {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := unix.Gettid()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Tgkill(unix.Getpid(), tid, unix.SIGURG) // the runtime's own for preemption
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for range 20_000 {
		fd, err := OpenDirAt(unix.AT_FDCWD, dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		err = ReadDirSome(fd, func(d Dirent) bool { got = append(got, strings.Clone(d.Name)); return true })
		Close(fd)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}
