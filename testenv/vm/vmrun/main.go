// Vmrun runs a program as root in a virtual machine, as go test -exec too:
//
//	vmrun -kernel 6.12 ./program ARG…
//	CGO_ENABLED=0 go test -exec "vmrun -kernel 5.10" ./native
//
// The exit status is the program's; 124 if the machine took too long, 125 if it
// ended without a verdict, with the end of its console on standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/overlaydiff/overlaydiff/testenv/vm"
)

const (
	tooLong   = 124
	noVerdict = 125
)

func main() {
	var o options
	flag.StringVar(&o.arch, "arch", "amd64", "the `architecture`: amd64 or arm64")
	flag.StringVar(&o.kernel, "kernel", "latest", "a `series` of kernels: 5.10, 6.12, latest")
	flag.StringVar(&o.disk, "disk", "", "run in the root of the `file system`: ext4, xfs or btrfs")
	flag.DurationVar(&o.deadline, "deadline", 15*time.Minute, "end the machine after so long")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	exit, err := run(ctx, o, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmrun:", err)
	}
	os.Exit(exit)
}

type options struct {
	arch         string
	kernel, disk string
	deadline     time.Duration
}

func run(ctx context.Context, o options, args []string) (exit int, err error) {
	kernels, err := vm.Fetch(ctx, o.arch, o.kernel)
	if err != nil {
		return noVerdict, err
	}
	if kernels[0].Dir == "" {
		return noVerdict, fmt.Errorf("the archive has no kernel %s", o.kernel)
	}
	kit, err := vm.NewKit(ctx, o.arch)
	if err != nil {
		return noVerdict, err
	}
	defer func() { err = errors.Join(err, kit.Close()) }()
	program, err := exec.LookPath(args[0])
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return noVerdict, err
	}
	c := vm.Command{Args: append([]string{"/tests/" + filepath.Base(program)}, args[1:]...), Dir: "/tests", Disk: o.disk}
	if o.disk != "" {
		c.Dir = "/mnt"
	}
	m := vm.Machine{Kernel: kernels[0], Kit: kit, Archive: filepath.Join(kit.Dir, "program.cpio"), Deadline: o.deadline, Output: os.Stdout}
	err = vm.Pack(m.Archive, func(f *vm.Files) {
		if o.arch == runtime.GOARCH {
			f.Program(c.Args[0], "/", program)
		} else { // with the libraries of this machine it would not run
			f.Copy(c.Args[0], program)
		}
		f.Tree("/tests/testdata", "testdata") // which go test would have there
	})
	if err != nil {
		return noVerdict, err
	}
	report, err := m.Run(ctx, vm.Guest{Env: vm.TestEnv(), Commands: []vm.Command{c}})
	return verdict(report, err), err
}

// verdict is the exit status of a machine that ran one command.
func verdict(report *vm.Report, err error) (exit int) {
	switch {
	case errors.Is(err, vm.ErrDeadline):
		return tooLong
	case err != nil || len(report.Commands) != 1:
		return noVerdict
	}
	return report.Commands[0].Exit
}
