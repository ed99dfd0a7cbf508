//go:build linux

package mountutil

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
)

// childEnv names what a copy of the test binary does instead of testing.
const childEnv = "OVERLAYDIFF_MOUNTUTIL_CHILD"

var children = map[string]func(args []string) error{
	"mount":  childMount,
	"views":  childViews,
	"chroot": childChroot,
	"userns": childUserNS,
	"inside": childInside,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(run(m))
}

// testDir has all that this process makes: other tests mount things, too.
var testDir string

func run(m *testing.M) int {
	var err error
	if testDir, err = os.MkdirTemp("", "mountutil-test-"); err != nil {
		fmt.Println(err)
		return 1
	}
	os.Setenv("TMPDIR", testDir)
	fds := openFDs()
	code := m.Run()
	if code == 0 {
		if left := openFDs(); left != fds {
			fmt.Printf("descriptors of directories: %d before, %d after\n", fds, left)
			code = 1
		}
		if left := mountTable(); left != "" {
			fmt.Printf("mounts left:\n%s\n", left)
			code = 1
		}
	}
	if err := os.Remove(testDir); err != nil {
		fmt.Println(err)
		code = 1
	}
	return code
}

// openFDs counts the open directories.
func openFDs() int {
	n := 0
	names, _ := os.ReadDir("/proc/self/fd")
	for _, name := range names {
		if fi, err := os.Stat("/proc/self/fd/" + name.Name()); err == nil && fi.IsDir() {
			n++
		}
	}
	return n
}

// mountTable returns the mounts below testDir.
func mountTable() string {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	var ours []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " "+testDir+"/") {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "")
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	const why = "mounting needs root"
	if os.Getenv("CI") != "" || os.Getenv("OVERLAYDIFF_REQUIRE") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// onEachFS runs a test on the file system of the temporary directory and on a
// tmpfs of its own; dir is empty, and TMPDIR a directory apart.
func onEachFS(t *testing.T, test func(t *testing.T, dir string)) {
	requireRoot(t)
	for _, fs := range []string{"tmpdir", "tmpfs"} {
		t.Run(fs, func(t *testing.T) {
			dir := t.TempDir()
			if fs == "tmpfs" {
				mountTmpfs(t, dir)
			}
			temp := filepath.Join(dir, "TMP")
			mkdirs(t, temp)
			t.Setenv("TMPDIR", temp)
			t.Cleanup(func() { wantEmpty(t, temp) })
			test(t, dir)
		})
	}
}

func mountTmpfs(t *testing.T, dir string) {
	t.Helper()
	check(t, unix.Mount("mountutil-test", dir, "tmpfs", 0, "mode=755"))
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
}

// takes reports whether the kernel mounts l1 and l2 of dir as an overlay with the
// options. If it refuses, so must we, and not only fail.
func takes(t *testing.T, dir, format, options string) bool {
	t.Helper()
	point := t.TempDir()
	err := unix.Mount("mountutil-test", point, "overlay", 0, fmt.Sprintf("lowerdir="+format+",", dir+"/l1", dir+"/l2")+options)
	if err == nil {
		check(t, unix.Unmount(point, 0))
	} else if err != unix.EINVAL {
		t.Fatal(err)
	}
	return err == nil
}

const (
	twoLayers = "%s:%s"
	dataLayer = "%s::%s"
)

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil || len(names) > 0 {
		t.Errorf("left in %s: %v %v", dir, names, err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdirs(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		check(t, os.MkdirAll(dir, 0o755))
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	check(t, os.WriteFile(path, []byte(content), 0o644))
}

// layers makes dir/l1, l2, u and w with a file named after each layer.
func layers(t *testing.T, dir string) Options {
	t.Helper()
	o := Options{Lower: []string{dir + "/l1", dir + "/l2"}, Upper: dir + "/u", Work: dir + "/w"}
	mkdirs(t, o.Lower[0], o.Lower[1], o.Upper, o.Work)
	for _, l := range []string{"l1", "l2", "u"} {
		write(t, dir+"/"+l+"/"+l, l)
		write(t, dir+"/"+l+"/top", l)
	}
	return o
}

func mustMount(t *testing.T, o Options) *Mounted {
	t.Helper()
	m, err := Mount(t.Context(), o)
	check(t, err)
	t.Cleanup(func() { check(t, m.Close()) })
	return m
}

// start runs a child and returns it with the lines that it prints. It is
// killed at the end of the test.
func start(t *testing.T, name string, attr *syscall.SysProcAttr, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	exe, err := os.Executable()
	check(t, err)
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewReader(out)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("child: %q, %v", s, err)
	}
	return strings.TrimSuffix(s, "\n")
}

// childInside mounts an overlay at m in the directory that it gets, of the layers
// link and u: all of it on a tmpfs that only its own namespace has there.
func childInside(args []string) error {
	dir := args[0]
	err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
	if err == nil {
		err = unix.Mount("tmpfs", dir, "tmpfs", 0, "")
	}
	for _, name := range []string{"l", "u", "w", "m"} {
		if err == nil {
			err = os.Mkdir(dir+"/"+name, 0o755)
		}
	}
	if err == nil {
		err = os.Symlink(dir+"/l", dir+"/link")
	}
	if err == nil {
		err = unix.Mount("overlay", dir+"/m", "overlay", 0, fmt.Sprintf("lowerdir=%[1]s/%[2]s,upperdir=%[1]s/u,workdir=%[1]s/w", dir, args[1]))
	}
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	return unix.Pause()
}

// childMount mounts, waits for SIGTERM and closes.
func childMount(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	o, err := ParseOptions(args[0])
	if err != nil {
		return err
	}
	m, err := Mount(ctx, o)
	if err != nil {
		return err
	}
	fmt.Println(m.Path())
	<-ctx.Done()
	return m.Close()
}

// childViews opens views and waits to be killed.
func childViews(args []string) error {
	s, err := StackOfOptions(args[0])
	if err != nil {
		return err
	}
	for range 5 {
		for _, which := range []Side{Old, New} {
			if _, err := OpenView(context.Background(), s, which); err != nil {
				return err
			}
		}
	}
	fmt.Println("ready")
	return unix.Pause()
}

// childChroot makes args[0] its root directory and waits to be killed.
func childChroot(args []string) error {
	if err := unix.Chroot(args[0]); err != nil {
		return err
	}
	fmt.Println("ready")
	return unix.Pause()
}

// notPermitted is what childUserNS says on a kernel without such mounts.
const notPermitted = "no overlays in user namespaces"

// childUserNS mounts and opens views in a user namespace.
func childUserNS(args []string) error {
	point := args[0] + "/l2" // anything else than a denial is found below
	if err := unix.Mount("mountutil-test", point, "overlay", 0, "lowerdir="+args[0]+"/l1:"+args[0]+"/u"); err == unix.EPERM {
		fmt.Println(notPermitted)
		return nil
	} else if err == nil {
		err = unix.Unmount(point, 0)
		if err != nil {
			return err
		}
	}
	o := Options{Lower: []string{args[0] + "/l1", args[0] + "/l2"}, Upper: args[0] + "/u", Work: args[0] + "/w", UserXattr: true}
	m, err := Mount(context.Background(), o)
	if err != nil {
		return err
	}
	defer m.Close()
	s, err := StackOfMount(context.Background(), m.Path())
	if err != nil {
		return err
	}
	for _, which := range []Side{Old, New} {
		v, err := OpenView(context.Background(), s, which)
		if err != nil {
			return err
		}
		defer v.Close()
	}
	if s.Features != (diff.Features{UserXattr: true}) {
		return fmt.Errorf("features %+v", s.Features)
	}
	fmt.Println("ok")
	return nil
}
