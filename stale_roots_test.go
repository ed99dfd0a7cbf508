package overlaydiff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// rootCase is a way in which a system comes to a root directory other than the one that an
// overlay was mounted below.
type rootCase struct {
	name string
	// become makes it, in a process of its own, and returns the overlay that is asked for.
	become func(dir string) (merged string, err error)
	want   string
}

var rootCases = []rootCase{
	{"pivot_root with the old root below the new one", becomeOpenWrt, "D /etc/banner, A /etc/config, C /etc/passwd"},
	{"pivot_root after mounting below the new root", becomeInitramfs, "D /banner, A /config, C /passwd"},
	{"switch_root", becomeSwitched, "D /banner, A /config, C /passwd"},
	{"chroot", becomeJailed, "D /banner, A /config, C /passwd"},
	{"over its own lower layer", becomeOverLower, "D /banner, A /config, C /passwd"},
	{"over its own upper layer", becomeOverUpper, "D /banner, A /config, C /passwd"},
	{"lower layers of a detached mount", becomeDetached, "D /banner, A /config, C /passwd"},
	{"an overlay on an overlay that it covers", becomeNested, "D /banner, A /config, C /passwd"},
}

const rootCaseEnv = "OVERLAYDIFF_TEST_ROOT_CASE"

// TestRoots asks both engines and verify in a process whose root directory was changed.
func TestRoots(t *testing.T) {
	testenv.RequireRoot(t)
	for _, c := range rootCases {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestRoots$")
			cmd.Env = append(os.Environ(), rootCaseEnv+"="+c.name, "OVERLAYDIFF_TEST_DIR="+t.TempDir())
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// rootCaseChild runs one case and returns the exit status of the process. What it mounts
// ends with its mount namespace.
func rootCaseChild(name string) int {
	os.Unsetenv("TMPDIR") // it is not in every root
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		fmt.Println(err)
		return 1
	}
	for _, c := range rootCases {
		if c.name != name {
			continue
		}
		merged, err := c.become(os.Getenv("OVERLAYDIFF_TEST_DIR"))
		if errors.Is(err, errLacks) {
			fmt.Println("not on this kernel:", err)
			return 0
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		return askRoot(merged, c.want)
	}
	fmt.Println("no such case")
	return 1
}

// errLacks: the kernel can't make such an overlay.
var errLacks = errors.New("this kernel lacks it")

func askRoot(merged, want string) int {
	ctx := context.Background()
	status := 0
	for _, engine := range []Choice{Native, Naive} {
		s, err := FromMount(ctx, merged)
		var got []string
		if err == nil {
			got, err = changesOf(ctx, s, engine)
		}
		for i, line := range got {
			got[i] = strings.Join(strings.Fields(line)[:2], " ")
		}
		if d := cmp.Diff(want, strings.Join(got, ", ")); d != "" || err != nil || !s.Proven() {
			fmt.Printf("%s: %v, unproven %v (-want +got):\n%s\n", engine, err, s.Unproven, d)
			status = 1
		}
		if err := verifies(ctx, s, engine); err != nil {
			fmt.Printf("%s: verify: %v\n", engine, err)
			status = 1
		}
	}
	return status
}

func verifies(ctx context.Context, s diff.Stack, engine Choice) error {
	d, err := Open(ctx, s, Options{Engine: engine})
	if err != nil {
		return err
	}
	defer d.Close()
	v, err := d.Verify(ctx, VerifyOptions{})
	if err == nil && !v.Equal {
		err = fmt.Errorf("%+v", v.Differences)
	}
	return err
}

// steps does one after another until one fails.
func steps(list ...error) error { return errors.Join(list...) }

func overlayAt(point, lower, upper, work string) error {
	err := syscall.Mount("overlay", point, "overlay", 0, "lowerdir="+lower+",upperdir="+upper+",workdir="+work)
	if err != nil {
		return fmt.Errorf("mount an overlay of %s at %s: %w", lower, point, err)
	}
	return nil
}

// newRoot makes a tree on a tmpfs that can be a root directory.
func newRoot(root string) error {
	err := syscall.Mount("tmpfs", root, "tmpfs", 0, "")
	for _, dir := range []string{"/proc", "/tmp", "/old", "/mnt", "/rom", "/overlay", "/lower", "/etc", "/work", "/upper"} {
		err = errors.Join(err, os.Mkdir(root+dir, 0o755))
	}
	return errors.Join(err, fillRoot(root+"/etc"), fillRoot(root+"/lower"))
}

func fillRoot(dir string) error {
	return errors.Join(os.WriteFile(dir+"/passwd", []byte("a\n"), 0o644), os.WriteFile(dir+"/banner", []byte("b\n"), 0o644),
		os.WriteFile(dir+"/kept", []byte("k\n"), 0o644))
}

func changeRoot(dir string) error {
	return errors.Join(os.WriteFile(dir+"/passwd", []byte("a, b\n"), 0o644), os.Remove(dir+"/banner"), os.WriteFile(dir+"/config", nil, 0o644))
}

func pivot(root, old string) error {
	return errors.Join(os.Chdir(root), syscall.PivotRoot(".", old), os.Chdir("/"))
}

func becomeOpenWrt(dir string) (string, error) {
	root := dir + "/root"
	return "/", steps(os.Mkdir(root, 0o755), newRoot(root), pivot(root, "old"),
		syscall.Mount("proc", "/proc", "proc", 0, ""), syscall.Unmount("/old", syscall.MNT_DETACH),
		syscall.Mount("tmpfs", "/overlay", "tmpfs", 0, ""), os.Mkdir("/overlay/upper", 0o755), os.Mkdir("/overlay/work", 0o755),
		overlayAt("/mnt", "/", "/overlay/upper", "/overlay/work"), pivot("/mnt", "rom"),
		syscall.Mount("/rom/proc", "/proc", "", syscall.MS_MOVE, ""), syscall.Mount("/rom/overlay", "/overlay", "", syscall.MS_MOVE, ""),
		changeRoot("/etc"))
}

func mountedBelow(root string) error {
	return steps(os.Mkdir(root, 0o755), newRoot(root), syscall.Mount("proc", root+"/proc", "proc", 0, ""),
		overlayAt(root+"/mnt", root+"/lower", root+"/upper", root+"/work"))
}

func becomeInitramfs(dir string) (string, error) {
	root := dir + "/sysroot"
	return "/mnt", steps(mountedBelow(root), pivot(root, "old"), syscall.Unmount("/old", syscall.MNT_DETACH), changeRoot("/mnt"))
}

func becomeSwitched(dir string) (string, error) {
	root := dir + "/sysroot"
	return "/mnt", steps(mountedBelow(root), os.Chdir(root), syscall.Mount(".", "/", "", syscall.MS_MOVE, ""), syscall.Chroot("."), os.Chdir("/"),
		changeRoot("/mnt"))
}

// becomeJailed has an overlay mounted by a process in a chroot, and asks from outside.
func becomeJailed(dir string) (string, error) {
	root := dir + "/jail"
	outside, err := os.Open("/")
	if err != nil {
		return "", err
	}
	defer outside.Close()
	return root + "/mnt", steps(os.Mkdir(root, 0o755), newRoot(root), syscall.Chroot(root), os.Chdir("/"),
		overlayAt("/mnt", "/lower", "/upper", "/work"), outside.Chdir(), syscall.Chroot("."), changeRoot(root+"/mnt"))
}

func becomeOverLower(dir string) (string, error) {
	root := dir + "/root"
	return root + "/lower", steps(os.Mkdir(root, 0o755), newRoot(root), overlayAt(root+"/lower", root+"/lower", root+"/upper", root+"/work"),
		changeRoot(root+"/lower"))
}

func becomeOverUpper(dir string) (string, error) {
	root := dir + "/root"
	return root + "/upper", steps(os.Mkdir(root, 0o755), newRoot(root), overlayAt(root+"/upper", root+"/lower", root+"/upper", root+"/work"),
		changeRoot(root+"/upper"))
}

// becomeDetached has a lower layer that was named by a path which leads there no more: the
// mount with it was detached, and the same file system is mounted elsewhere.
func becomeDetached(dir string) (string, error) {
	root := dir + "/root"
	err := steps(os.Mkdir(root, 0o755), newRoot(root), syscall.Mount(root+"/lower", root+"/old", "", syscall.MS_BIND, ""),
		overlayAt(root+"/mnt", root+"/old", root+"/upper", root+"/work"), syscall.Unmount(root+"/old", syscall.MNT_DETACH), changeRoot(root+"/mnt"))
	if err == nil && !tellsHandles(root+"/mnt") {
		return "", errLacks
	}
	return root + "/mnt", err
}

// tellsHandles reports whether an overlay tells the file handles of its layers' inodes
// (Linux 6.6): without, a directory to which no name leads is not found.
func tellsHandles(merged string) bool {
	f, err := os.Open(merged)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = sys.FIDAt(int(f.Fd()), "")
	return err == nil
}

func becomeNested(dir string) (string, error) {
	root := dir + "/root"
	return root + "/mnt", steps(os.Mkdir(root, 0o755), newRoot(root), os.Mkdir(root+"/upper2", 0o755), os.Mkdir(root+"/work2", 0o755),
		overlayAt(root+"/mnt", root+"/lower", root+"/upper2", root+"/work2"),
		syscall.Mount("tmpfs", root+"/tmp", "tmpfs", 0, ""), os.Mkdir(root+"/tmp/u", 0o755), os.Mkdir(root+"/tmp/w", 0o755),
		overlayAt(root+"/mnt", root+"/mnt", root+"/tmp/u", root+"/tmp/w"), changeRoot(root+"/mnt"))
}

// Two layers whose parent directories were exchanged have each other's names, and the mount shows
// something of each. Which one hides the other can't be seen here, since the upper layer hides the
// only name that both have. A directory in which something was created is no reason to doubt:
// container engines do that.
func TestFromMount_ExchangedParents(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		testenv.Needs(t, fs, testenv.LayerHandles)
		dir := testenv.Scratch(t, fs) + "/layers"
		testenv.Tree(t, dir, "dir 1", "dir 1/fs", "dir 1/fs/a", "file 1/fs/one content=1", "dir 2", "dir 2/fs", "file 2/fs/a content=x", "file 2/fs/two content=2",
			"dir u", "file u/a content=y", "dir w")
		merged := testenv.Mount(t, testenv.Overlay{Lower: []string{dir + "/1/fs", dir + "/2/fs"}, Upper: dir + "/u", Work: dir + "/w"})
		time.Sleep(20 * time.Millisecond) // a tick of the kernel's clock
		if err := errors.Join(os.Mkdir(dir+"/1/merged", 0o755), os.Mkdir(dir+"/2/merged", 0o755)); err != nil {
			t.Fatal(err)
		}
		if s, err := FromMount(t.Context(), merged); err != nil || !s.Proven() {
			t.Fatalf("before: %v, unproven: %q", err, s.Unproven)
		}
		err := errors.Join(os.Rename(dir+"/1", dir+"/3"), os.Rename(dir+"/2", dir+"/1"), os.Rename(dir+"/3", dir+"/2"))
		if err != nil {
			t.Fatal(err)
		}
		refused := func(when string) {
			_, err := FromMount(t.Context(), merged)
			if !errors.As(err, new(*mountutil.LayerError)) || !strings.Contains(err.Error(), "can't be told from another one") {
				t.Errorf("%s: %v", when, err)
			}
		}
		refused("after")
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
		defer testenv.Unmount(t, dir)
		refused("below a mount that covers all of it")
	})
}
