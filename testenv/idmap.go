package testenv

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// idmap mounts a copy of a directory with ids mapped as in a user namespace. The system
// calls take pointers, which Go code outside of internal/sys can't make, but any
// Debian's Perl can; their numbers are those of all architectures.
const idmap = `
my ($source, $point, $namespace) = @ARGV;
open(my $ns, '<', $namespace) or die "$namespace: $!\n";
my $tree = syscall(428, -100, $source, 0x80001);         # open_tree: OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC
die "open_tree: $!\n" if $tree < 0;
my ($empty, $attr) = ("", pack("Q4", 0x100000, 0, 0, fileno($ns))); # MOUNT_ATTR_IDMAP
syscall(442, $tree, $empty, 0x1000, $attr, 32) == 0 or die "mount_setattr: $!\n";
syscall(429, $tree, $empty, -100, $point, 4) == 0 or die "move_mount: $!\n";
`

// IDMap mounts directories with the ids from 0 on as those from First on.
type IDMap struct{ namespace string }

// NewIDMap returns a map that lasts until the test ends, or an error where there can be
// no user namespace or no Perl.
func NewIDMap(tb testing.TB, first int) (*IDMap, error) {
	tb.Helper()
	if _, err := exec.LookPath("perl"); err != nil {
		return nil, err
	}
	cmd := exec.Command("cat") // until its input ends
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: first, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	tb.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			tb.Error(err)
		}
	})
	return &IDMap{fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid)}, nil
}

// Mount mounts the directory source at point until the test ends. The error is that of
// a kernel or a file system which can't.
func (m *IDMap) Mount(tb testing.TB, source, point string) error {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), "perl", "-e", idmap, source, point, m.namespace).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mount with mapped ids: %w: %s", err, strings.TrimSpace(string(out)))
	}
	tb.Cleanup(func() { Unmount(tb, point) })
	return nil
}
