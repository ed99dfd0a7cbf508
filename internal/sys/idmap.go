package sys

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// NewUserNamespace returns a user namespace with these ids, which no process is in.
//
// It takes a process to make one: this program again, which is stopped before its first
// instruction (PTRACE_TRACEME stops it at execve), and killed once the namespace is open.
func NewUserNamespace(uids, gids []syscall.SysProcIDMap) (_ *os.File, err error) {
	runtime.LockOSThread() // the thread that starts the process traces it
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: uids, GidMappings: gids,
		Ptrace: true, Pdeathsig: unix.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		kill := cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		err = errors.Join(err, kill)
	}()
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
}

// CopyMount returns a detached copy of the mount that the directory fd is on, which begins
// there (Linux 5.2). It has nothing of what is mounted inside.
func CopyMount(fd int) (int, error) {
	tree, err := unix.OpenTree(fd, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, asErrno(err)
	}
	return tree, nil
}

// MapIDs makes a detached mount show owners as the user namespace maps them (Linux 5.12).
func MapIDs(tree, userNamespace int) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userNamespace)}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return asErrno(err)
	}
	return nil
}

// Attach mounts a detached copy of a mount at point.
func Attach(tree int, point string) error {
	err := unix.MoveMount(tree, "", unix.AT_FDCWD, point, unix.MOVE_MOUNT_F_EMPTY_PATH)
	if err != nil {
		return asErrno(err)
	}
	return nil
}
