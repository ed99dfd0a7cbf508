package torture_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// race is an overlay that others write to while it is read.
type race struct {
	fs      testenv.FS
	options string
	where   string // the writers work in the mounted overlay, in its upper directory, or in both
}

func races() (all []race) {
	for _, fs := range []testenv.FS{testenv.Tmpfs, testenv.Ext4} {
		if !slices.Contains(testenv.FileSystems(), fs) {
			continue
		}
		for _, options := range []string{"redirect_dir=on,metacopy=on", "redirect_dir=on,index=on"} {
			for _, where := range []string{"merged", "upper", "merged,upper"} {
				all = append(all, race{fs, options, where})
			}
		}
	}
	return all
}

// While programs do what they can in an overlay, and in its upper directory behind
// its back, no walk ends with an error, nothing outside of the layers is read, and
// what nobody touches is in each answer as it is.
func TestRaces(t *testing.T) {
	if dir := os.Getenv(writerEnv); dir != "" {
		write(t, dir)
		return
	}
	run := torture.Start(t, torture.Races, 20)
	c := newCanary(t)
	all, raced := races(), map[string]int64{}
	for turn := 0; turn < len(all) || run.More(); turn++ {
		r := all[turn%len(all)]
		t.Run(fmt.Sprintf("%d %s %s %s", turn, r.fs, r.options, r.where), func(t *testing.T) { r.run(t, run, c, raced) })
		if t.Failed() {
			break
		}
	}
	for engine, n := range raced {
		run.Note("%d entries vanished or changed while the %s engine read them.", n, engine)
		if n == 0 {
			t.Errorf("%s: no race", engine)
		}
	}
}

func (r race) run(t *testing.T, run *torture.Run, c *canary, raced map[string]int64) {
	before := testenv.TakeInventory()
	s := newQuiet(t, testenv.Scratch(t, r.fs), r.options)
	var pids []int
	var stops []func()
	for where := range strings.SplitSeq(r.where, ",") {
		dir := s.merged
		if where == "upper" {
			dir, s.behind = s.stack.Upper, true
		}
		for range 2 {
			pid, stop := r.startWriter(t, dir, c.path)
			pids, stops = append(pids, pid), append(stops, stop)
		}
	}
	for start, n := time.Now(), 0; n < 2 || time.Since(start) < 900*time.Millisecond && !t.Failed(); n++ {
		for _, engine := range engines {
			walks, races := s.answers(t, engine, []int{1, 2, 8}[n%3])
			run.Count("walks during races", walks)
			raced[string(engine)] += races
		}
	}
	for _, stop := range stops {
		stop()
	}
	run.Count("races run", 1)
	c.untouched(t, pids...)
	testenv.Unmount(t, s.merged)
	if err := before.Leaks(); err != nil {
		t.Error(err)
	}
}

const (
	writerEnv        = "OVERLAYDIFF_TORTURE_WRITER"
	writerSeedEnv    = "OVERLAYDIFF_TORTURE_WRITER_SEED"
	writerCanaryEnv  = "OVERLAYDIFF_TORTURE_WRITER_CANARY"
	writerOptionsEnv = "OVERLAYDIFF_TORTURE_WRITER_OPTIONS"
)

// startWriter starts a process that writes in dir. It is one of its own, so that what
// it reads is told from what is read here.
func (r race) startWriter(t *testing.T, dir, canary string) (pid int, stop func()) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("writer in %s: seed %d", filepath.Base(dir), seed)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestRaces$", "-test.v")
	cmd.Env = append(os.Environ(), writerEnv+"="+dir, writerSeedEnv+"="+strconv.FormatUint(seed, 10), writerCanaryEnv+"="+canary,
		writerOptionsEnv+"="+r.options)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	end, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, func() {
		_ = end.Close()
		if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), " operations") {
			t.Errorf("the writer: %v\n%s", err, &out)
		}
		t.Log(strings.TrimSpace(out.String()[strings.Index(out.String(), "seed"):]))
	}
}

// write does random operations below dir until standard input ends.
func write(t *testing.T, dir string) {
	seed, err := strconv.ParseUint(os.Getenv(writerSeedEnv), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	var end atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end.Store(true)
	}()
	w := writer{rand.New(rand.NewPCG(seed, 0)), os.Getenv(writerCanaryEnv), strings.Contains(os.Getenv(writerOptionsEnv), "metacopy=on")}
	done := map[bool]int{}
	for !end.Load() {
		for _, op := range w.next() {
			err := op.Apply(dir)
			if err != nil && !testenv.Refused(err) && !expected(err) {
				t.Logf("%s: %v", op, err)
			}
			done[err == nil]++
		}
	}
	t.Logf("seed %d: %d operations, %d more were refused", seed, done[true], done[false])
	if done[true] == 0 {
		t.Error("nothing was written")
	}
}

// expected reports whether an error is what becomes of an overlay whose upper
// directory is written to behind its back, or of a canary that can't be written to.
func expected(err error) bool {
	return errors.Is(err, os.ErrPermission) || strings.Contains(err.Error(), "read-only") || strings.Contains(err.Error(), "input/output")
}

// writer makes up operations. All are on few names, so that they meet.
type writer struct {
	*rand.Rand
	canary string
	meta   bool // metacopy files are no error
}

func (w *writer) name() string {
	dir, file := fmt.Sprintf("busy/p%d", w.IntN(4)), fmt.Sprintf("q%d", w.IntN(4))
	switch w.IntN(8) {
	case 0:
		return fmt.Sprintf("top%d", w.IntN(2))
	case 1, 2, 3:
		return dir
	case 4:
		return filepath.Join(dir, file, "r")
	}
	return filepath.Join(dir, file)
}

func (w *writer) next() []testenv.Op {
	verbs := []struct{ verb, arg string }{
		{"create", "content"}, {"write", "more"}, {"truncate", "0"}, {"truncate", "300000"}, {"chmod", "600"}, {"chmod", "755"},
		{"unlink", ""}, {"rmtree", ""}, {"mkdir", ""}, {"mkdir", ""}, {"todir", ""}, {"tofile", "x"},
		{"rename", "NAME"}, {"rename", "NAME"}, {"exchange", "NAME"}, {"exchange", "NAME"}, {"link", "NAME"},
		{"symlink", w.canary}, {"symlink", w.canary}, {"symlink", w.canary + "/d"}, {"retarget", "../q0"},
		{"FIFO", ""}, {"FIFO", ""}, {"mknod", "socket"}, {"mknod", "char:1:5"}, {"mknod", "char:0:0"},
		{"setxattr", "trusted.k=v"}, {"removexattr", "trusted.k"},
		{"setxattr", "trusted.overlay.opaque=y"}, {"removexattr", "trusted.overlay.opaque"},
		{"setxattr", "trusted.overlay.redirect=/busy/p1"}, {"setxattr", "trusted.overlay.redirect=/low"}, {"removexattr", "trusted.overlay.redirect"},
		{"META", ""},
	}
	v := verbs[w.IntN(len(verbs))]
	op := testenv.Op{Verb: v.verb, Path: w.name(), Arg: v.arg}
	switch {
	case v.verb == "FIFO": // on names of its own: os.RemoveAll would wait for somebody to open one above
		n := w.IntN(2)
		file, fifo := fmt.Sprintf("busy/file%d", n), fmt.Sprintf("busy/fifo%d", n)
		return []testenv.Op{
			{Verb: "mknod", Path: fifo, Arg: "fifo"}, {Verb: "create", Path: file, Arg: "x"}, {Verb: "exchange", Path: file, Arg: fifo},
		}
	case v.verb == "META" && !w.meta:
		return w.next()
	case v.verb == "META": // a file whose data is in a lower layer; half of it is never seen
		made := fmt.Sprintf("busy/made%d", os.Getpid())
		return []testenv.Op{
			{Verb: "create", Path: made, Arg: "data"},
			{Verb: "setxattr", Path: made, Arg: "trusted.overlay.redirect=/data"},
			{Verb: "setxattr", Path: made, Arg: "trusted.overlay.metacopy="},
			{Verb: "rename", Path: made, Arg: fmt.Sprintf("busy/meta%d", w.IntN(2))},
		}
	case v.arg == "NAME":
		op.Arg = w.name()
	}
	return []testenv.Op{op}
}
