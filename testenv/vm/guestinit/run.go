package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/testenv/vm"
)

// noStart is the exit status of a command that could not be started.
const noStart = 126

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// run runs a command to its end. All that it and its children say is output by
// then, if they close their ends, as they do when they end.
func run(c vm.Command, env []string, output io.Writer) vm.Status {
	start, out := time.Now(), &counter{w: output}
	exit, err := execute(c, env, out)
	if err != nil {
		exit = noStart
		fmt.Fprintln(out, "guestinit:", err)
	}
	return vm.Status{Exit: exit, Bytes: out.n, Seconds: time.Since(start).Seconds()}
}

func execute(c vm.Command, env []string, output io.Writer) (exit int, err error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return 0, err
	}
	if c.Disk != "" {
		if err := unix.Mount(vm.DiskDir+"/"+c.Disk, c.Dir, c.Disk, 0, ""); err != nil {
			return 0, &os.PathError{Op: "mount " + c.Disk, Path: c.Dir, Err: err}
		}
		defer unix.Unmount(c.Dir, unix.MNT_DETACH)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	stderr := w
	if c.Apart {
		stderr = os.Stderr
	}
	p, err := os.StartProcess(c.Args[0], c.Args, &os.ProcAttr{
		Dir: c.Dir, Env: env, Files: []*os.File{null, w, stderr}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	w.Close()
	if err != nil {
		return 0, err
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(output, r)
		copied <- err
	}()
	exit, err = reap(p.Pid)
	select {
	case cerr := <-copied:
		if err == nil {
			err = cerr
		}
	case <-time.After(5 * time.Second): // something that it started lives on, and may
	}
	return exit, err
}

// reap waits for a child, and for all others that end meanwhile: orphans are
// the first process's.
func reap(child int) (exit int, err error) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("wait4", err)
		case pid == child && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == child:
			return status.ExitStatus(), nil
		}
	}
}
