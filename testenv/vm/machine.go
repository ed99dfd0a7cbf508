package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrDeadline is that a machine took too long; ErrNoVerdict that it ended
// without a word of the guest's init: it did not boot, panicked, or fell.
var (
	ErrDeadline  = errors.New("the machine took too long")
	ErrNoVerdict = errors.New("the machine ended without a verdict")
)

// Machine is a virtual machine.
type Machine struct {
	Kernel   Kernel
	Kit      *Kit
	Archive  string // more files, of [Pack]; "" for none
	Deadline time.Duration
	Output   io.Writer // gets the commands' output as it comes; may be nil
}

// Report is what became of a machine.
type Report struct {
	Ready    Ready
	Emulated bool     // without hardware virtualisation
	Commands []Status // as many as have ended
	Outputs  [][]byte // of each of those, and of the one that was running
	Console  []byte   // the kernel's messages
}

// Run boots the machine, has it run the commands and waits for its end. An error
// says that no verdict came; it has the end of the console. The report is never
// nil, and has what came until then.
//
// Nothing of the machine outlives this process.
func (m *Machine) Run(ctx context.Context, g Guest) (*Report, error) {
	r := &Report{}
	dir, err := os.MkdirTemp(m.Kit.Dir, "machine-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	q := qemu{dir: dir, disks: m.Kit.Disks, arch: m.Kit.Arch}
	if q.vmlinux, q.initrd, err = m.assemble(dir, g); err != nil {
		return r, err
	}
	r.Emulated = !hardware(q.arch)
	ctx, cancel := context.WithTimeoutCause(ctx, m.Deadline, ErrDeadline)
	defer cancel()
	var output bytes.Buffer
	w := io.Writer(&output)
	if m.Output != nil {
		w = io.MultiWriter(w, m.Output)
	}
	runErr := q.run(ctx, w)
	r.Console, _ = os.ReadFile(q.console())
	events, err := os.ReadFile(q.events())
	if err != nil {
		return r, errors.Join(runErr, err)
	}
	ended := r.read(events, output.Bytes())
	switch {
	case ended:
		return r, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	default:
		err = errors.Join(ErrNoVerdict, runErr)
	}
	return r, fmt.Errorf("%s: %w; its console ends with\n%s", m.Kernel.Name(), err, tail(r.Console, 4000))
}

// assemble makes the archive from which the guest starts.
func (m *Machine) assemble(dir string, g Guest) (vmlinux, initrd string, err error) {
	vmlinux, modules, err := m.Kernel.prepare()
	if err != nil {
		return "", "", err
	}
	g.Modules = append(slices.Clone(early), g.Modules...)
	word := filepath.Join(dir, "guest.cpio")
	err = Pack(word, func(a *Files) {
		b, err := json.Marshal(g)
		a.fail(err)
		a.Data(GuestFile, b, 0o644)
	})
	if err != nil {
		return "", "", err
	}
	initrd = filepath.Join(dir, "initrd")
	out, err := os.Create(initrd)
	if err != nil {
		return "", "", err
	}
	defer out.Close()
	for _, part := range []string{m.Kit.base, modules, m.Archive, word} {
		if part == "" {
			continue
		}
		in, err := os.Open(part)
		if err != nil {
			return "", "", err
		}
		_, err = io.Copy(out, in)
		in.Close()
		if err != nil {
			return "", "", err
		}
	}
	return vmlinux, initrd, out.Close()
}

// read reads the guest's events and splits the output by them, and reports
// whether the guest came to its end.
func (r *Report) read(events, output []byte) (ended bool) {
	for line := range bytes.Lines(events) {
		var e Event
		if json.Unmarshal(line, &e) != nil {
			return false // the line that was being written
		}
		if e.Ready != nil {
			r.Ready = *e.Ready
		}
		if e.Command != nil {
			n := min(e.Command.Bytes, int64(len(output)))
			r.Commands, r.Outputs = append(r.Commands, *e.Command), append(r.Outputs, output[:n])
			output = output[n:]
		}
		ended = ended || e.End
	}
	if len(output) > 0 {
		r.Outputs = append(r.Outputs, output)
	}
	return ended
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// qemu is a QEMU process and its files.
type qemu struct {
	dir, vmlinux, initrd string
	arch                 string
	disks                []Disk
}

func (q qemu) console() string { return filepath.Join(q.dir, "console") }
func (q qemu) events() string  { return filepath.Join(q.dir, "events") }

func (q qemu) run(ctx context.Context, output io.Writer) error {
	program := platforms[q.arch].program
	cmd := exec.CommandContext(ctx, program, q.args()...)
	cmd.Env = append(os.Environ(), "TMPDIR="+q.dir) // where it keeps what a guest writes to its disks
	var complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = output, &complaints
	// It must have an end of a pipe as its input: when that ends, the guest's
	// output port is hung up, and what writes to it blocks for ever.
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	// If this process is killed, QEMU is too; the signal comes when the thread
	// ends that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // ^C is for us alone
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, complaints.Bytes())
	}
	return nil
}

// platform is how QEMU makes a machine of an architecture.
type platform struct {
	program, machine string
	cpu              string // emulated
	options          string // of the kernel
	bus              string // of the devices
}

var platforms = map[string]platform{
	"amd64": {"qemu-system-x86_64", "q35", "max,la57=off", "console=ttyS0 tsc=reliable no_timer_check", "pci"},
	// The processor of many servers. A newer one costs the emulator more than it gives.
	"arm64": {"qemu-system-aarch64", "virt,gic-version=3", "neoverse-n1", "console=ttyAMA0", "pci"},
	"s390x": {"qemu-system-s390x", "s390-ccw-virtio", "max", "console=ttysclp0", "ccw"},
}

func (q qemu) args() []string {
	p := platforms[q.arch]
	args := append(strings.Fields("-nodefaults -no-user-config -no-reboot -display none -smp 2 -m 2048"), "-M", p.machine)
	if hardware(q.arch) {
		args = append(args, "-accel", "kvm", "-cpu", "host")
	} else {
		args = append(args, "-accel", "tcg,thread=multi", "-cpu", p.cpu)
	}
	args = append(args,
		"-kernel", q.vmlinux, "-initrd", q.initrd,
		"-append", p.options+" panic=-1 oops=panic rdinit=/init mitigations=off nokaslr "+
			"random.trust_cpu=on cryptomgr.notests audit=0 quiet loglevel=4",
		"-chardev", "file,id=console,path="+q.console(), "-serial", "chardev:console",
		"-device", "virtio-serial-"+p.bus,
		"-chardev", "stdio,id=output,signal=off", "-device", "virtserialport,chardev=output,name="+OutputPort,
		"-chardev", "file,id=events,path="+q.events(), "-device", "virtserialport,chardev=events,name="+EventPort,
		"-device", "virtio-rng-"+p.bus)
	for _, d := range q.disks {
		args = append(args,
			"-drive", "if=none,id="+d.Name+",format=raw,cache=unsafe,snapshot=on,file="+d.image,
			"-device", "virtio-blk-"+p.bus+",drive="+d.Name+",serial="+d.Name)
	}
	return args
}

// hardware reports whether the processor helps with virtualisation of an architecture. That
// /dev/kvm opens is no proof: there are kinds of KVM that do without, and run
// only guests made for them; QEMU would abort, or crawl.
func hardware(arch string) bool {
	if arch != "amd64" || runtime.GOARCH != "amd64" { // not tried elsewhere
		return false
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	info, err := os.ReadFile("/proc/cpuinfo")
	words := strings.Fields(string(info))
	return err == nil && (slices.Contains(words, "vmx") || slices.Contains(words, "svm"))
}
