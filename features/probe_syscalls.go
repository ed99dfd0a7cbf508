package features

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// syscallProbes are about what this package and the engines call.
var syscallProbes = []probe{
	call("openat2", "5.6", "paths are resolved by steps instead", unix.SYS_OPENAT2, invalid, 0, 0, 0),
	{
		name: "statx_mount_id", group: groupSyscall, depends: onKernel, since: "5.8",
		asks:    "the kernel has it: statx tells the mount of a file",
		how:     "asks for STATX_MNT_ID",
		follows: "mount points must be found by the mount table",
		run:     probeMountID,
	},
	call("fsopen", "5.2", "overlays can't be mounted detached: most questions can't be answered", unix.SYS_FSCONFIG, invalid, 0, 0, 0, 0),
	call("open_tree", "5.2", "layers can't be seen without what is mounted inside", unix.SYS_OPEN_TREE, invalid, 0, 0xffff_ffff),
	call("mount_setattr", "5.12", "mounts can't have an id mapping", unix.SYS_MOUNT_SETATTR, invalid, 0, 0, 0, 0),
	call("quotactl_fd", "5.14", "project quotas are found by device", unix.SYS_QUOTACTL_FD, invalid, 0, 0, 0),
	call("statmount", "6.8", "mount options are read from mountinfo, with its escapes", unix.SYS_STATMOUNT, 0, 0, 0, 0),
	call("listmount", "6.8", "mounts are listed from mountinfo", unix.SYS_LISTMOUNT, 0, 0, 0, 0),
	call("getxattrat", "6.13", "attributes are read by way of /proc/self/fd, one lookup more", unix.SYS_GETXATTRAT, invalid, 0, 0, 0, 0, 0),
	call("listxattrat", "6.13", "attributes are listed by way of /proc/self/fd, one lookup more", unix.SYS_LISTXATTRAT, invalid, 0, 0, 0, 0),
}

// invalid is no descriptor.
const invalid = ^uintptr(0)

// call asks whether there is a system call, with arguments that it must refuse
// without having done anything.
func call(name, since, follows string, number uintptr, args ...uintptr) probe {
	return probe{
		name: name, group: groupSyscall, depends: onKernel, since: since, follows: follows,
		asks: "the kernel has it",
		how:  "calls it with invalid arguments: ENOSYS says that it is missing",
		run: func(context.Context, *session) error {
			var a [6]uintptr
			copy(a[:], args)
			_, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
			switch errno {
			case unix.ENOSYS, unix.EPERM, unix.EACCES: // the latter by a filter
				return fmt.Errorf("%s: %w", name, errno)
			case 0:
				return errors.New("it succeeded with invalid arguments")
			}
			return nil
		},
	}
}

func probeMountID(_ context.Context, s *session) error {
	var st unix.Statx_t
	if err := unix.Statx(int(s.dir.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return fmt.Errorf("statx: %w", err)
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return no("statx does not tell it")
	}
	return nil
}
