package native_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// idmap mounts a copy of the directory at point, with ids mapped as in a user
// namespace. mount(8) can do that since util-linux 2.39 (X-mount.idmap); the
// system calls take pointers, which Go code outside of internal/sys can't make,
// but any Debian's Perl can. Their numbers are those of all architectures.
const idmap = `
my ($source, $point, $namespace) = @ARGV;
open(my $ns, '<', $namespace) or die "$namespace: $!\n";
my $tree = syscall(428, -100, $source, 0x80001);         # open_tree: OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC
die "open_tree: $!\n" if $tree < 0;
my ($empty, $attr) = ("", pack("Q4", 0x100000, 0, 0, fileno($ns))); # MOUNT_ATTR_IDMAP
syscall(442, $tree, $empty, 0x1000, $attr, 32) == 0 or die "mount_setattr: $!\n";
syscall(429, $tree, $empty, -100, $point, 4) == 0 or die "move_mount: $!\n";
`

// namespaceWith returns a path of a user namespace in which the ids from 0 on
// are the host's from first on.
func namespaceWith(t *testing.T, first int) string {
	t.Helper()
	cmd := exec.Command("cat") // until its input ends
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: first, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		missing(t, "needs a user namespace: "+err.Error())
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid)
}

// mapped mounts the directory at point with mapped ids.
func mapped(t *testing.T, fs testenv.FS, source, point, namespace string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "perl", "-e", idmap, source, point, namespace).CombinedOutput()
	for _, no := range []error{syscall.ENOSYS, syscall.EINVAL} { // the kernel, the file system
		if strings.EqualFold(string(out), "mount_setattr: "+no.Error()+"\n") {
			testenv.Absent(t, fs, testenv.IDMaps)
		}
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(point, 0); err != nil {
			t.Errorf("unmount %s: %v", point, err)
		}
	})
}

// What counts are the ids as the mount of each layer shows them: a copy-up
// writes those into the upper.
func TestIDMapped(t *testing.T) {
	if _, err := exec.LookPath("perl"); err != nil {
		missing(t, "needs perl: "+err.Error())
	}
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		namespace := namespaceWith(t, 100000)
		o := layers{options: "redirect_dir=on,metacopy=on", lower: []string{"file top"}}.make(t, testenv.Scratch(t, fs))
		source, point := testenv.Scratch(t, fs), t.TempDir()
		testenv.Tree(t, source,
			"file same content=x", "file mode content=x uid=5 gid=6", "file own content=x", "file acl content=x", "file acl2 content=x", "file cap content=x",
			"file cap2 content=x", "dir d uid=7", "file d/f uid=7", "symlink l -> x", "file renamed uid=1000")
		testenv.Do(t, source, "acl acl 1000:7", "acl acl2 1000:7", "capability cap 400", "capability cap2 400")
		for _, name := range []string{"acl", "acl2", "cap", "cap2"} { // setting them took time
			testenv.Do(t, source, "utimes "+name+" 5")
		}
		mapped(t, fs, source, point, namespace)
		if st, err := os.Stat(point + "/mode"); err != nil || st.Sys().(*syscall.Stat_t).Uid != 100005 {
			t.Fatalf("it is not mapped: %v", err)
		}
		o.stack.Lower = append(o.stack.Lower, point)
		v := o.mount(t)
		testenv.Do(t, v.new,
			"open same", "chmod mode 600", "chown own 0:0", "open acl", "chmod cap 600", "chmod cap 644", "chown d 0:0", "chown d 100007:100000",
			"chown l 1:1", "chown l 100000:100000", "rename renamed r", "acl acl2 101001:7", "open cap2", "chmod d/f 600")
		want := []string{"C /acl2 xattrs", "C /d/f mode", "C /mode mode", "C /own uid,gid", "A /r", "D /renamed"}
		// XFS shows ACLs a second time as trusted.SGI_ACL_FILE, where no id is
		// mapped, and a copy-up writes that last: the ACL does change. Before 6.2
		// ACLs are copied as they are stored, whatever the mount maps: they change,
		// but on XFS, whose second one goes before. (Xattr whiteouts tell kernels
		// before 6.7, and there are none between.)
		if (fs == testenv.XFS) == testenv.Has(t, fs, testenv.XattrWhiteouts) {
			want = append([]string{"C /acl xattrs"}, want...)
		}
		o.checkMounted(t, v, want...)
	})
}
