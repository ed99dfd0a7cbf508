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
