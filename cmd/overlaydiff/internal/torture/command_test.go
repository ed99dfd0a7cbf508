package torture_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// builtCommand is the command overlaydiff, built once, without a C library so that
// no system call of a loader is among its own. It is kept in memory: what a test
// leaves in a directory is a failure.
var builtCommand = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "command")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "overlaydiff")
	if _, err := exec.LookPath("go"); err != nil { // a virtual machine has it ready made
		if program, err = exec.LookPath("overlaydiff"); err != nil {
			return nil, fmt.Errorf("build the command: %w", err)
		}
		return os.ReadFile(program)
	}
	build := exec.Command("go", "build", "-o", program, "github.com/overlaydiff/overlaydiff/cmd/overlaydiff")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", build, err, out)
	}
	return os.ReadFile(program)
})

// installCommand puts the command into a directory and returns its path.
func installCommand(t *testing.T, dir string) string {
	t.Helper()
	program, err := builtCommand()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlaydiff")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// room is where a command runs: a working directory and a TMPDIR, both empty before,
// in a directory that also has the layers and whatever else must stay as it is.
type room struct {
	dir    string
	work   string // the working directory
	temp   string // TMPDIR
	layers []string
	before string // what is in the layers, and the mounts
}

// newRoom makes a room in dir. layers are directories in which nothing may change.
func newRoom(t *testing.T, dir string, layers ...string) *room {
	t.Helper()
	r := &room{dir: dir, work: filepath.Join(dir, "work"), temp: filepath.Join(dir, "temp"), layers: layers}
	r.empty(t)
	r.before = r.surroundings()
	return r
}

// empty takes away what a command made.
func (r *room) empty(t *testing.T) {
	t.Helper()
	for _, dir := range []string{r.work, r.temp} {
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
}

// clear takes the room's directories away.
func (r *room) clear(t *testing.T) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(r.work), os.RemoveAll(r.temp)); err != nil {
		t.Fatal(err)
	}
}

// surroundings describes all that a command must leave as it was.
func (r *room) surroundings() string {
	var b strings.Builder
	for _, layer := range r.layers {
		b.WriteString(treeOf(layer))
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, r.dir) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// treeOf lists a tree with what stat tells, access times apart.
func treeOf(root string) string {
	var b strings.Builder
	_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &st)
		}
		fmt.Fprintln(&b, path, st.Ino, st.Nlink, st.Mode, st.Size, st.Mtim, st.Ctim, err)
		return nil
	})
	return b.String()
}

// left names what is there that a command should have taken away, or changed. made
// is the name of its result in the working directory, which is no leftover.
func (r *room) left(made string) (left []string) {
	for _, dir := range []string{r.work, r.temp} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			left = append(left, err.Error())
		}
		for _, e := range entries {
			if made == "" || dir != r.work || e.Name() != made {
				left = append(left, filepath.Join(filepath.Base(dir), e.Name()))
			}
		}
	}
	if now := r.surroundings(); now != r.before {
		left = append(left, "layers or mounts are not as before:\n"+firstDifference(r.before, now))
	}
	return left
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("\t%s\n\t%s", x[i], y[i])
		}
	}
	return fmt.Sprintf("\t%d and %d lines", len(x), len(y))
}

// ran is what became of a command.
type ran struct {
	status         int // -1: a signal ended it
	signal         syscall.Signal
	stdout, stderr string
	took           time.Duration
	hung           bool // it was killed because it did not end
	orphans        bool // processes of its group were left
}

// patience is how long a command may take. The longest here takes half a second.
const patience = 30 * time.Second

// started is a command that runs, in a process group of its own.
type started struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	at             time.Time
	stop           func() bool
	late           context.CancelFunc
	ctx            context.Context //nolint:containedctx // lives as long as the command
}

// start starts a command in the room, with further variables in its environment.
func (r *room) start(env []string, args ...string) (*started, error) {
	s := &started{at: time.Now()}
	s.ctx, s.late = context.WithTimeout(context.Background(), patience)
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = r.work, &s.stdout, &s.stderr
	s.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + r.temp}, env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		s.late()
		return nil, err
	}
	s.stop = context.AfterFunc(s.ctx, func() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) })
	return s, nil
}

// wait waits until the command and all of its process group have ended.
func (s *started) wait() *ran {
	_ = s.cmd.Wait()
	r := &ran{status: s.cmd.ProcessState.ExitCode(), took: time.Since(s.at), stdout: s.stdout.String(), stderr: s.stderr.String()}
	if ws, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		r.signal = ws.Signal()
	}
	r.hung = !s.stop() && s.ctx.Err() == context.DeadlineExceeded
	s.late()
	group := s.cmd.Process.Pid
	// A child that its parent's death kills needs a moment to die.
	for wait := time.Millisecond; alive(group) && wait < 2*time.Second; wait *= 2 {
		time.Sleep(wait)
	}
	if r.orphans = alive(group); r.orphans {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	return r
}

// alive reports whether there is a process in the group, apart from zombies: those
// wait for init, which may take its time.
func alive(group int) bool {
	if syscall.Kill(-group, 0) != nil {
		return false
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		b, _ := os.ReadFile(stat)                  // it may have ended
		_, rest, _ := strings.Cut(string(b), ") ") // after the name
		if f := strings.Fields(rest); len(f) > 2 && f[0] != "Z" && f[0] != "X" && f[2] == strconv.Itoa(group) {
			return true
		}
	}
	return false
}

// run runs a command in the room to its end.
func (r *room) run(t *testing.T, env []string, args ...string) *ran {
	t.Helper()
	s, err := r.start(env, args...)
	if err != nil {
		t.Fatal(err)
	}
	return s.wait()
}
