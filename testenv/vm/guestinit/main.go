// Guestinit is the first process of a virtual machine of package vm and, by the
// name modprobe, what its kernel calls to load a module. It does what GuestFile
// says, and ends the machine.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/testenv/vm"
)

func main() {
	if os.Getpid() != 1 {
		os.Exit(modprobe(os.Args[1:]))
	}
	if err := boot(); err != nil {
		fmt.Println("guestinit:", err) // to the console; without a verdict the host shows it
	}
	unix.Sync()
	// QEMU is told not to reboot, so it ends. Power off would need ACPI.
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	fmt.Println("guestinit: reboot:", err)
	select {} // the kernel panics when its first process ends
}

func boot() error {
	if err := leaveRootfs(); err != nil {
		return fmt.Errorf("make a root of / that pivot_root may leave: %w", err)
	}
	if err := mountAll(); err != nil {
		return err
	}
	var g vm.Guest
	b, err := os.ReadFile(vm.GuestFile)
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil {
		return err
	}
	if err := loadEarly(g.Modules); err != nil {
		return err
	}
	openDevices()
	if err := errors.Join(loopbackUp(), mountTmp()); err != nil {
		return err
	}
	output, err := port(vm.OutputPort)
	if err != nil {
		return err
	}
	events, err := port(vm.EventPort)
	if err != nil {
		return err
	}
	return serve(g, output, json.NewEncoder(events))
}

// leaveRootfs makes a mount of / its root, since the first root of all, which
// the kernel made, can't be left by pivot_root.
func leaveRootfs() error {
	const root = "/.root"
	err := errors.Join(os.Mkdir(root, 0o755), unix.Mount("/", root, "", unix.MS_BIND, ""), os.Chdir(root))
	if err == nil {
		err = unix.Mount(".", "/", "", unix.MS_MOVE, "")
	}
	return errors.Join(err, unix.Chroot("."), os.Chdir("/"))
}

func mountAll() error {
	var errs []error
	for _, m := range []struct{ kind, at, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"devpts", "/dev/pts", "ptmxmode=0666"},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"tmpfs", "/run", "mode=755"},
		{"cgroup2", "/sys/fs/cgroup", ""},
	} {
		errs = append(errs, os.MkdirAll(m.at, 0o755))
		if err := unix.Mount(m.kind, m.at, m.kind, 0, m.options); err != nil {
			errs = append(errs, &os.PathError{Op: "mount", Path: m.at, Err: err})
		}
	}
	return errors.Join(append(errs, os.Symlink("/proc/self/fd", "/dev/fd"))...)
}

// openDevices does what udev does elsewhere: modes, and names of disks.
func openDevices() {
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty", "ptmx", "fuse"} {
		_ = os.Chmod("/dev/"+name, 0o666) // not every kernel has each
	}
	_ = os.Mkdir(vm.DiskDir, 0o755)
	serials, _ := filepath.Glob("/sys/block/vd*/serial")
	for _, file := range serials {
		if serial, err := os.ReadFile(file); err == nil {
			_ = os.Symlink("/dev/"+filepath.Base(filepath.Dir(file)), filepath.Join(vm.DiskDir, strings.TrimSpace(string(serial))))
		}
	}
}

// loopbackUp starts the network that every machine has: 127.0.0.1.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("set lo up", unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo))
}

func mountTmp() error {
	const dir = "/tmp"
	if err := unix.Mount(vm.DiskDir+"/"+vm.TmpDisk, dir, "ext4", 0, ""); err != nil {
		return &os.PathError{Op: "mount ext4", Path: dir, Err: err}
	}
	return os.Chmod(dir, 0o1777)
}

// port opens a port of the host by its name. It appears a moment after its
// module is loaded.
func port(name string) (*os.File, error) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, file := range names {
			if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == name {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(file)), os.O_WRONLY, 0)
			}
		}
	}
	return nil, fmt.Errorf("no port %s", name)
}

func serve(g vm.Guest, output io.Writer, events *json.Encoder) error {
	if err := events.Encode(vm.Event{Ready: ready()}); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGHUP)
	for _, c := range g.Commands {
		status := run(c, g.Env, output)
		if err := events.Encode(vm.Event{Command: &status}); err != nil {
			return err
		}
	}
	return events.Encode(vm.Event{End: true})
}

func ready() *vm.Ready {
	var r vm.Ready
	var u unix.Utsname
	var now unix.Timespec
	if unix.Uname(&u) == nil && unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) == nil {
		r = vm.Ready{Release: unix.ByteSliceToString(u.Release[:]), Version: unix.ByteSliceToString(u.Version[:]), Uptime: float64(now.Nano()) / 1e9}
	}
	return &r
}
