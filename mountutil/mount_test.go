//go:build linux

package mountutil

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// list returns the names in the directory fd and what the files hold.
func list(t *testing.T, fd int) map[string]string {
	t.Helper()
	dup, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	check(t, err)
	d := os.NewFile(uintptr(dup), "dir")
	defer d.Close()
	names, err := d.Readdirnames(-1)
	check(t, err)
	got := map[string]string{}
	for _, name := range names {
		ffd, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		check(t, err)
		f := os.NewFile(uintptr(ffd), name)
		b := make([]byte, 100)
		n, _ := f.Read(b)
		f.Close()
		got[name] = string(b[:n])
	}
	return got
}

// onThread runs f on a thread changed by change, which ends with it.
func onThread(t *testing.T, change func() error, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is thrown away
		err := change()
		defer func() { done <- err }() // f may end the goroutine, by t.Fatal
		if err == nil {
			f()
		}
	}()
	check(t, <-done)
}

func withoutSysAdmin(t *testing.T, f func()) {
	t.Helper()
	onThread(t, func() error {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if err := unix.Capget(&hdr, &caps[0]); err != nil {
			return err
		}
		caps[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
		return unix.Capset(&hdr, &caps[0])
	}, f)
}

func asNobody(t *testing.T, f func()) {
	t.Helper()
	onThread(t, func() error {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			return errno
		}
		return nil
	}, f)
}

func TestMount(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		o := layers(t, dir)
		before := mountTable()
		m, err := Mount(t.Context(), o)
		check(t, err)
		fi, err := os.Stat(filepath.Dir(m.Path()))
		check(t, err)
		if fi.Mode().Perm() != 0o700 {
			t.Errorf("mode of the directory: %v", fi.Mode())
		}
		write(t, m.Path()+"/new", "new")
		if b, err := os.ReadFile(o.Upper + "/new"); err != nil || string(b) != "new" {
			t.Errorf("in the upper: %q %v", b, err)
		}
		busy, err := os.Open(m.Path() + "/new")
		check(t, err)
		check(t, m.Close()) // busy: detached
		check(t, busy.Close())
		check(t, m.Close())
		if after := mountTable(); after != before {
			t.Errorf("mounts:\n%s", after)
		}
		// Unmounted by someone else.
		m, err = Mount(t.Context(), o)
		check(t, err)
		check(t, unix.Unmount(m.Path(), 0))
		check(t, m.Close())
	})
}

func TestMount_Errors(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		good := layers(t, dir)
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Mount(canceled, good)
		wantErr(t, err, context.Canceled)

		o := good
		o.Unknown = []string{"frob"}
		_, err = Mount(t.Context(), o)
		var oe *OptionError
		if !errors.As(err, &oe) {
			t.Error(err)
		}
		o = good
		o.Lower = []string{dir + "/none"}
		_, err = Mount(t.Context(), o)
		wantErr(t, err, fs.ErrNotExist, "mount the layer "+dir+"/none", "name a directory that exists")
		_, err = Mount(t.Context(), Options{Lower: good.Lower[:1]})
		wantErr(t, err, nil, "two layers")
		o.Lower = []string{dir + "/l1", dir + "/l1"}
		_, err = Mount(t.Context(), o)
		wantErr(t, err, unix.ELOOP, "twice")
		withoutSysAdmin(t, func() { _, err = Mount(t.Context(), good) })
		wantErr(t, err, diff.ErrUnsupported, "CAP_SYS_ADMIN", "userxattr")
		wantErr(t, err, errors.ErrUnsupported)
		t.Setenv("TMPDIR", dir+"/none")
		_, err = Mount(t.Context(), good)
		wantErr(t, err, fs.ErrNotExist, "TMPDIR")
	})
}

// manyLayers makes n lower layers with a file each, in directories with names
// of width bytes.
func manyLayers(t *testing.T, dir string, n, width int) []string {
	t.Helper()
	var paths []string
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("%0*d", width, i))
		mkdirs(t, path)
		write(t, fmt.Sprintf("%s/f%d", path, i), "")
		paths = append(paths, path)
	}
	return paths
}

func TestMount_ManyLayers(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		for _, n := range []int{60, 200, 450} { // by descriptors, by descriptors, by parts
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				sub := fmt.Sprintf("%s/%d", dir, n)
				o := layers(t, sub)
				o.Lower = manyLayers(t, sub, n, 200)
				o.Generic = []string{"nosuid"}
				m, err := Mount(t.Context(), o)
				if errors.Is(err, diff.ErrUnsupported) && n == 450 {
					testenv.Absent(t, "", testenv.ManyLayers) // before Linux 6.7
				}
				check(t, err)
				defer m.Close()
				write(t, m.Path()+"/new", "")
				names, err := os.ReadDir(m.Path())
				if err != nil || len(names) != n+3 {
					t.Errorf("%d names, want %d", len(names), n+3)
				}
				wantError(t, m.Path(), nil, "was a descriptor", "name the layers yourself")
				v, err := OpenView(t.Context(), o.Stack(KernelDefaults()), New)
				check(t, err)
				defer v.Close()
				if got := len(list(t, v.FD())); got != n+3 {
					t.Errorf("%d names in the view, want %d", got, n+3)
				}
			})
		}
		o := Options{Lower: manyLayers(t, dir+"/501", 501, 10)}
		_, err := Mount(t.Context(), o)
		wantErr(t, err, diff.ErrUnsupported, "500 lower layers at most")
	})
}

func TestMount_SIGTERM(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		cmd, out := start(t, "mount", nil, layers(t, dir).String())
		path := line(t, out)
		if _, err := StackOfMount(t.Context(), path); err != nil {
			t.Error(err)
		}
		check(t, cmd.Process.Signal(syscall.SIGTERM))
		check(t, cmd.Wait())
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("left: %s: %v", path, err)
		}
	})
}

func TestUserNamespace(t *testing.T) {
	requireRoot(t)
	dir, temp := t.TempDir(), t.TempDir()
	layers(t, dir)
	t.Setenv("TMPDIR", temp)
	cmd, out := start(t, "userns", &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}},
	}, dir)
	got := line(t, out)
	if got != "ok" && got != notPermitted {
		t.Error(got)
	}
	check(t, cmd.Wait())
	wantEmpty(t, temp)
	if got == notPermitted {
		testenv.Absent(t, "", testenv.UsernsOverlays)
	}
}

func fsIsTmpfs(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC
}

// unmountBusy unmounts without detaching: it fails while somebody uses dir.
func unmountBusy(dir string) error {
	var err error
	for range 50 {
		if err = unix.Unmount(dir, 0); err != unix.EBUSY {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// mountTmpfsAgain gives the cleanups what they expect.
func mountTmpfsAgain(t *testing.T, dir string) {
	t.Helper()
	check(t, unix.Mount("mountutil-test", dir, "tmpfs", 0, ""))
	mkdirs(t, os.Getenv("TMPDIR"))
}

func TestOpenTree(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		mkdirs(t, dir+"/d/sub")
		write(t, dir+"/d/sub/covered", "c")
		mountTmpfs(t, dir+"/d/sub")
		sub := func(fd int) map[string]string {
			s, err := sys.Open(fd, "sub", unix.O_RDONLY|unix.O_DIRECTORY)
			check(t, err)
			defer unix.Close(s)
			return list(t, s)
		}
		tree, err := OpenTree(dir + "/d")
		check(t, err)
		if got := sub(tree.FD()); !tree.Private() || got["covered"] != "c" {
			t.Errorf("private %v, %v", tree.Private(), got)
		}
		if flags, _ := unix.FcntlInt(uintptr(tree.FD()), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
			t.Error("not close-on-exec")
		}
		check(t, tree.Close())
		check(t, tree.Close())
		if tree.FD() >= 0 {
			t.Error("still open")
		}

		withoutSysAdmin(t, func() { tree, err = OpenTree(dir + "/d") })
		check(t, err)
		if got := sub(tree.FD()); tree.Private() || len(got) != 0 {
			t.Errorf("private %v, %v", tree.Private(), got)
		}
		check(t, tree.Close())

		_, err = OpenTree(dir + "/none")
		wantErr(t, err, fs.ErrNotExist, dir+"/none")
		write(t, dir+"/file", "")
		_, err = OpenTree(dir + "/file")
		wantErr(t, err, unix.ENOTDIR, dir+"/file")
	})
}

// Trees on one mount share a copy of it, where each is as it would be alone.
func TestMounts(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		for _, d := range []string{"/a", "/b"} {
			mkdirs(t, dir+d+"/sub")
			write(t, dir+d+"/sub/covered", d)
			mountTmpfs(t, dir+d+"/sub")
		}
		mkdirs(t, dir+"/c")
		mountTmpfs(t, dir+"/c")
		mkdirs(t, dir+"/c/d")
		mountID := func(tree *Tree) uint64 {
			var st unix.Statx_t
			check(t, unix.Statx(tree.FD(), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st))
			return st.Mnt_id
		}
		covered := func(tree *Tree) string {
			s, err := sys.Open(tree.FD(), "sub", unix.O_RDONLY|unix.O_DIRECTORY)
			check(t, err)
			defer unix.Close(s)
			return list(t, s)["covered"]
		}
		var m Mounts
		var trees []*Tree
		for _, d := range []string{"/a", "/b", "/b/../a", "/c/d"} {
			tree, err := m.OpenTree(dir + d)
			check(t, err)
			trees = append(trees, tree)
			if !tree.Private() {
				t.Errorf("%s is not private", d)
			}
		}
		for i, tree := range trees[:3] {
			if mountID(tree) != mountID(trees[0]) {
				t.Errorf("tree %d has a copy of its own", i)
			}
		}
		if mountID(trees[3]) == mountID(trees[0]) {
			t.Error("trees on two mounts share one")
		}
		check(t, trees[0].Close())
		if got := covered(trees[1]) + covered(trees[2]); got != "/b/a" {
			t.Errorf("covered: %q", got)
		}
		for _, tree := range trees[1:] {
			check(t, tree.Close())
		}
	})
}

func TestKernelDefaults(t *testing.T) {
	dir := t.TempDir()
	value := func(name string) (string, error) { return sys.ReadValue(filepath.Join(dir, name)) }
	got := readDefaults(value)
	if got != (Defaults{}) {
		t.Errorf("%+v of nothing", got)
	}
	write(t, dir+"/metacopy", "Y\n")
	write(t, dir+"/index", "N\n")
	if got := readDefaults(value); got != (Defaults{Metacopy: On, Index: Off}) {
		t.Errorf("%+v", got)
	}
}

func TestViewOptions_OldKernels(t *testing.T) {
	tests := []struct {
		f    diff.Features
		d    Defaults
		want string
	}{
		{diff.Features{RedirectFollow: true}, Defaults{}, "ro,nosuid,nodev,noexec"},
		{diff.Features{}, Defaults{RedirectDir: Off}, "ro,nosuid,nodev,noexec,redirect_dir=off"},
		{diff.Features{RedirectFollow: true}, Defaults{RedirectDir: Off, Index: Off}, "ro,nosuid,nodev,noexec,redirect_dir=on,index=off"},
		{diff.Features{}, Defaults{Off, Off, Off, Off, Off, Off}, "ro,nosuid,nodev,noexec,redirect_dir=nofollow,metacopy=off,index=off,nfs_export=off,xino=off"},
		{diff.Features{UserXattr: true}, Defaults{Off, Off, Off, Off, Off, Off}, "ro,nosuid,nodev,noexec,index=off,nfs_export=off,xino=off,userxattr"},
	}
	for _, tt := range tests {
		o, err := viewOptions("test", tt.f, tt.d)
		if err != nil || o.String() != tt.want {
			t.Errorf("%+v on %+v: %s %v, want %s", tt.f, tt.d, o, err, tt.want)
		}
	}
}
