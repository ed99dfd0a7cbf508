package mounting

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// InOwnNamespace calls work on a thread with a mount namespace of its own, which
// ends with the thread: what work mounts nobody else sees, and it is gone
// afterwards, even if the process is killed. Goroutines that work starts are
// not in that namespace; processes are.
//
// The thread ends afterwards. A child process that was started on it before, with
// Pdeathsig in its SysProcAttr, gets that signal then: start such children on a thread
// that is locked (runtime.LockOSThread).
//
// The error is that of work, or matches [diff.ErrUnsupported] if there can be no
// such namespace; then work was not called.
func InOwnNamespace(op string, work func() error) error {
	return OnOwnThread(func() error {
		if err := OwnNamespace(); err != nil {
			return Error(op, err)
		}
		return work()
	})
}

// OwnNamespace gives the calling thread a copy of its mount namespace.
func OwnNamespace() error {
	err := unix.Unshare(unix.CLONE_NEWNS)
	if err == nil {
		// Slaves: nothing spreads from here, but what others unmount goes here,
		// too, and is not kept busy, where they share their mounts as systemd does.
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	}
	return err
}

// OnOwnThread calls work on a thread that ends afterwards, whatever work did to it.
func OnOwnThread(work func() error) error {
	done := make(chan error)
	go func() {
		// Not unlocked: so the runtime ends the thread with the goroutine.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread can't end, and /proc/PID shows its namespace: while
			// this goroutine holds it, another one gets another thread.
			defer runtime.UnlockOSThread()
			done <- OnOwnThread(work)
			return
		}
		done <- work()
	}()
	return <-done
}
