package torture_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// descriptors is how many the command may have.
const descriptors = 64

// extreme is an overlay that is large in some way, for the command to read.
type extreme struct {
	t                  *testing.T
	dir                string
	lower, upper, work string
	program            string
	peak               int64 // the most memory that the command took, in bytes
	cpu                time.Duration
}

func newExtreme(t *testing.T, fs testenv.FS) *extreme {
	t.Helper()
	dir := testenv.Scratch(t, fs)
	t.Cleanup(func() { // os.RemoveAll holds a descriptor a level; this comes before it
		if out, err := exec.Command("find", dir, "-mindepth", "1", "-delete").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	x := &extreme{t: t, dir: dir, lower: dir + "/lower", upper: dir + "/upper", work: dir + "/work"}
	x.program = filepath.Join(t.TempDir(), "overlaydiff")
	if out, err := exec.Command("go", "build", "-o", x.program, "github.com/overlaydiff/overlaydiff/cmd/overlaydiff").CombinedOutput(); err != nil { // from go's cache
		t.Fatalf("go build: %v: %s", err, out)
	}
	for _, d := range []string{x.lower, x.upper, x.work, dir + "/tmp"} {
		testenv.Tree(t, d)
	}
	return x
}

// command runs the command with few descriptors and returns what it wrote.
func (x *extreme) command(args ...string) []byte {
	x.t.Helper()
	path := x.program
	cmd := exec.CommandContext(x.t.Context(), "sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, descriptors), path}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Start()
	if err == nil {
		peak := watchMemory(cmd.Process.Pid, path)
		err = cmd.Wait()
		x.peak = max(x.peak, peak())
	}
	if err != nil {
		x.t.Fatalf("overlaydiff %.200s: %v: %.1000s", strings.Join(args, " "), err, &errs)
	}
	x.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return out.Bytes()
}

// watchMemory looks at the peak of a process's memory, in bytes, until it is asked for
// it. What wait tells is of no use: the peak of the process that forked counts there.
func watchMemory(pid int, program string) (peak func() int64) {
	proc := fmt.Sprintf("/proc/%d/", pid)
	end, most := make(chan struct{}), make(chan int64)
	go func() {
		for kib := int64(0); ; {
			status, err := os.ReadFile(proc + "status")
			if exe, _ := os.Readlink(proc + "exe"); err == nil && exe == program { // not the shell
				_, rest, _ := strings.Cut(string(status), "VmHWM:")
				var now int64
				if _, err := fmt.Sscan(rest, &now); err == nil {
					kib = max(kib, now)
				}
			}
			select {
			case <-time.After(2 * time.Millisecond):
			case <-end:
				most <- kib << 10
				return
			}
		}
	}()
	return func() int64 { close(end); return <-most }
}

// ask asks for something in JSON.
func (x *extreme) ask(engine, what string, answer any) {
	x.t.Helper()
	args := []string{what, "--json", "--lower", x.lower, "--upper", x.upper, "--work", x.work}
	if what != "usage" {
		args = append(args, "--engine", engine)
	}
	if err := json.Unmarshal(x.command(args...), answer); err != nil {
		x.t.Fatalf("%s: %v", what, err)
	}
}

// everything asks both engines for everything: so many changes there must be, of so
// many bytes. Layers go through apply and verify.
func (x *extreme) everything(changes int, size int64) {
	x.t.Helper()
	var used struct{ Inodes, Raced int64 }
	x.ask("", "usage", &used)
	if used.Raced != 0 || used.Inodes < 2 {
		x.t.Errorf("usage: %+v", used)
	}
	stack := []string{"--lower", x.lower, "--upper", x.upper, "--work", x.work, "--engine"}
	var layers [][]byte
	for _, engine := range engines {
		list := x.command(append(append([]string{"changes"}, stack...), string(engine))...)
		if n := bytes.Count(list, []byte("\n")); n != changes {
			x.t.Errorf("%s: %d changes, want %d", engine, n, changes)
		}
		var sum struct{ Bytes, Raced int64 }
		x.ask(string(engine), "size", &sum)
		if sum.Bytes != size || sum.Raced != 0 {
			x.t.Errorf("%s: size %+v, want %d", engine, sum, size)
		}
		layers = append(layers, x.command(append(append([]string{"export"}, stack...), string(engine))...))
		x.command(append(append([]string{"verify", "--tmp", x.dir + "/tmp"}, stack...), string(engine))...)
	}
	if !bytes.Equal(layers[0], layers[1]) {
		x.t.Error("the engines' layers differ")
	}
	file := x.dir + "/layer.tar"
	if err := os.WriteFile(file, layers[0], 0o600); err != nil {
		x.t.Fatal(err)
	}
	for _, form := range []string{"plain", "overlay"} {
		x.command("apply", "--to", x.dir+"/applied-"+form, "--as", form, file)
	}
	left, err := os.ReadDir(x.dir + "/tmp")
	if err != nil || len(left) != 0 {
		x.t.Errorf("verify leaves %v, %v", left, err)
	}
}

// chain makes directories in one another, and in each what beside says, a directory.
// A path that long can't be named.
func (x *extreme) chain(root string, depth int, beside, content string) {
	x.t.Helper()
	fd, err := syscall.Open(root, syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	for i := 0; err == nil && i < depth; i++ {
		if beside != "" {
			err = syscall.Mkdirat(fd, beside, 0o755)
		}
		if err == nil {
			err = syscall.Mkdirat(fd, "d", 0o755)
		}
		if err == nil {
			above := fd
			fd, err = syscall.Openat(above, "d", syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
			syscall.Close(above)
		}
	}
	if err == nil {
		err = errors.Join(os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/f", fd), []byte(content), 0o644), syscall.Close(fd))
	}
	if err != nil {
		x.t.Fatal(err)
	}
}

// Directories deeper than any path, twice as deep, and with something to come back to
// at each level.
func TestLimits_Depth(t *testing.T) {
	run := torture.Start(t, torture.Limits, 0)
	x := newExtreme(t, testenv.Tmpfs)
	x.chain(x.lower, 4000, "", "old")
	x.chain(x.upper, 4000, "", "newer")
	x.everything(1, 5)
	run.Count("hostile inputs tried", 1)

	depth := 1000
	if run.Whole() {
		depth = 2000
	}
	var peaks []int64
	var took []time.Duration
	for _, d := range []int{depth, 2 * depth} {
		x := newExtreme(t, testenv.Tmpfs)
		x.chain(x.lower, d, "z", "older")
		x.chain(x.upper, d, "z", "new")
		for _, engine := range engines {
			var sum struct{ Bytes int64 }
			if x.ask(string(engine), "size", &sum); sum.Bytes != 3 {
				t.Errorf("%s, %d levels: size %d", engine, d, sum.Bytes)
			}
		}
		peaks, took = append(peaks, x.peak), append(took, x.cpu)
		run.Count("hostile inputs tried", 1)
	}
	run.Note("%d levels of two directories each: %d MiB and %v; %d levels: %d MiB and %v (processor time, both engines).",
		depth, peaks[0]>>20, took[0].Round(time.Millisecond), 2*depth, peaks[1]>>20, took[1].Round(time.Millisecond))
	if peaks[1] > 3*peaks[0] {
		t.Errorf("twice as deep takes %d bytes instead of %d", peaks[1], peaks[0])
	}
}

// Many names in one directory, and twice as many.
func TestLimits_Width(t *testing.T) {
	run := torture.Start(t, torture.Limits, 0)
	width := 2_500
	if run.Whole() {
		width = 500_000
	}
	var peaks []int64
	var took []time.Duration
	for _, n := range []int{width, 2 * width} {
		x := newExtreme(t, testenv.Tmpfs)
		for i := range n {
			if err := os.WriteFile(fmt.Sprintf("%s/%d", x.upper, i), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if n > 100_000 { // an archive has a KiB of memory for each
			var sum struct{ Bytes, Raced int64 }
			for _, engine := range engines {
				x.ask(string(engine), "size", &sum)
			}
		} else {
			x.everything(n, 0)
		}
		peaks, took = append(peaks, x.peak), append(took, x.cpu)
		run.Count("hostile inputs tried", 1)
	}
	run.Note("%d names in one directory: %d MiB and %v; %d names: %d MiB and %v (processor time).",
		width, peaks[0]>>20, took[0].Round(time.Millisecond), 2*width, peaks[1]>>20, took[1].Round(time.Millisecond))
	if peaks[1] > 3*peaks[0] {
		t.Errorf("twice as many names take %d bytes instead of %d", peaks[1], peaks[0])
	}
}

// The longest names, and names with every byte there is.
func TestLimits_Names(t *testing.T) {
	run := torture.Start(t, torture.Limits, 0)
	for _, fs := range []testenv.FS{testenv.Tmpfs, testenv.Ext4} {
		x := newExtreme(t, fs)
		n := 0
		for b := 1; b < 256; b++ {
			if b == '/' {
				continue
			}
			long := strings.Repeat(string([]byte{byte(b)}), 255)
			for _, name := range []string{"x" + string([]byte{byte(b)}), long} {
				if err := os.WriteFile(filepath.Join(x.upper, name), []byte("x"), 0o644); err != nil {
					t.Fatalf("%q: %v", name, err)
				}
				n++
			}
		}
		x.everything(n, int64(n))
		run.Count("hostile inputs tried", n)
	}
}

// Sizes that an int64 holds just so, and whose sum it does not.
func TestLimits_Size(t *testing.T) {
	const most = 1<<63 - 1
	run := torture.Start(t, torture.Limits, 0)
	x := newExtreme(t, testenv.Tmpfs)
	for _, dir := range []string{x.lower, x.upper} {
		for _, name := range []string{"same", "last"} {
			testenv.Tree(t, dir, fmt.Sprintf("file %s size=%d", name, int64(most)))
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte(map[bool]string{true: "x", false: "y"}[name == "same" || dir == x.upper]), most-1)
			}
			if err == nil {
				err = f.Close()
			}
			if err == nil { // so that nothing but the last byte tells
				err = os.Chtimes(filepath.Join(dir, name), time.Unix(1, 0), time.Unix(1, 0))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, engine := range engines {
		got := string(x.command("changes", "--lower", x.lower, "--upper", x.upper, "--work", x.work, "--engine", string(engine)))
		if got != "C /last\n" {
			t.Errorf("%s: %q", engine, got)
		}
	}
	testenv.Tree(t, x.upper, fmt.Sprintf("file more size=%d", int64(most)))
	for _, engine := range engines {
		var sum, used struct{ Bytes int64 }
		x.ask(string(engine), "size", &sum)
		x.ask(string(engine), "usage", &used)
		if sum.Bytes != most || used.Bytes != most {
			t.Errorf("%s: size %d, usage %d", engine, sum.Bytes, used.Bytes)
		}
	}
	run.Count("hostile inputs tried", 4)
}

// As many names of one inode as ext4 allows, and attributes as large as any can be.
func TestLimits_LinksAndXattrs(t *testing.T) {
	run := torture.Start(t, torture.Limits, 0)
	links := 1000
	if run.Whole() {
		links = 65_000
	}
	x := newExtreme(t, testenv.Ext4)
	testenv.Tree(t, x.upper, "file 0 content=once")
	for i := 1; i < links; i++ {
		if err := os.Link(x.upper+"/0", fmt.Sprintf("%s/%d", x.upper, i)); err != nil {
			t.Fatal(err)
		}
	}
	x.everything(links, 4)
	run.Note("%d names of one inode took %d MiB.", links, x.peak>>20)

	x = newExtreme(t, testenv.Tmpfs)
	testenv.Tree(t, x.lower, "file f")
	testenv.Tree(t, x.upper, "file f", "file g")
	for _, name := range []string{x.lower + "/f", x.upper + "/f", x.upper + "/g"} {
		for _, attr := range []string{"trusted.a", "trusted.b"} {
			if err := xattr.LSet(name, attr, bytes.Repeat([]byte{'x'}, 64<<10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	x.everything(1, 0)
	run.Note("Attributes of 64 KiB took %d MiB.", x.peak>>20)
	run.Count("hostile inputs tried", 2)
}

// An overlay is found among so many mounts, and what it is does not depend on them.
func TestLimits_Mounts(t *testing.T) {
	run := torture.Start(t, torture.Limits, 0)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	q := newQuiet(t, filepath.Join(dir, "overlay"), "redirect_dir=on,metacopy=on")
	mounts := 500
	if run.Whole() {
		mounts = 5000
	}
	for i := range mounts {
		point := fmt.Sprintf("%s/m%d", dir, i)
		err := os.Mkdir(point, 0o755)
		if err == nil {
			err = syscall.Mount(q.stack.Lower[0], point, "", syscall.MS_BIND, "")
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(point, 0); err != nil {
				t.Error(err)
			}
		})
	}
	stack, err := overlaydiff.FromMount(t.Context(), q.merged)
	if err != nil {
		t.Fatal(err)
	}
	// How a directory is opened is no data of a stack; the answers below come through it.
	if d := cmp.Diff(q.stack, stack, cmpopts.IgnoreFields(diff.Stack{}, "Opener")); d != "" {
		t.Errorf("without and with %d mounts:\n%s", mounts, d)
	}
	for _, engine := range engines {
		q.answers(t, engine, 0)
	}
	run.Count("hostile inputs tried", 1)
	run.Note("%d lines in the mount table.", mountCount(t))
}
