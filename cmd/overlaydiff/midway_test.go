package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// signals are what midway can send; ^C is SIGINT to the process group, as a
// terminal sends it.
var signals = map[string]syscall.Signal{
	"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL, "^C": syscall.SIGINT,
}

// cmdMidway sends a command a signal in the middle of its work and checks its
// exit status, -1 if the signal ends it: midway SIGNAL N WHEN CMD… WHEN is
//
//	writing     it is stuck in writing a long answer, since nobody reads it
//	walking     it, or a child of its, has the trees open that its engine walks
//	said:TEXT   TEXT is in its output
func cmdMidway(ts *testscript.TestScript, args []string) {
	signal, ok := signals[args[0]]
	if !ok {
		ts.Fatalf("no signal %s", args[0])
	}
	m := start(ts, args[3:])
	defer m.kill()
	switch when, text, _ := strings.Cut(args[2], ":"); when {
	case "writing":
		m.read(ts, "/")
	case "said":
		m.read(ts, text)
	case "walking":
		m.awaitViews(ts)
	default:
		ts.Fatalf("no moment %s", when)
	}
	to := m.cmd.Process.Pid
	if args[0] == "^C" {
		to = -to
	}
	ts.Check(syscall.Kill(to, signal))
	time.Sleep(50 * time.Millisecond) // for its handler, before it may write again
	err := m.finish()
	_, _ = io.WriteString(ts.Stdout(), m.stdout.String())
	_, _ = io.WriteString(ts.Stderr(), m.stderr.String())
	checkStatus(ts, number(ts, args[1]), err)
}

// running is a process with a group of its own, whose output is read on demand.
type running struct {
	cmd            *exec.Cmd
	out            *bufio.Reader
	stdout, stderr strings.Builder
	waited         bool
}

func start(ts *testscript.TestScript, args []string) *running {
	path, err := exec.LookPath(filepath.Join(strings.Split(ts.Getenv("PATH"), ":")[0], args[0]))
	ts.Check(err)
	m := &running{cmd: exec.Command(path, args[1:]...)}
	m.cmd.Args[0] = args[0]
	m.cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"WORK", "PATH", "TMPDIR", "GORACE"} {
		m.cmd.Env = append(m.cmd.Env, name+"="+ts.Getenv(name))
	}
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	m.cmd.Stderr = &m.stderr
	m.cmd.WaitDelay = 10 * time.Second
	out, err := m.cmd.StdoutPipe()
	ts.Check(err)
	m.out = bufio.NewReaderSize(out, 16) // no more than what is asked for
	ts.Check(m.cmd.Start())
	return m
}

// kill takes down what runs yet if the script fails.
func (m *running) kill() {
	if !m.waited {
		_ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL)
		_ = m.cmd.Wait()
	}
}

// read reads the output up to a text.
func (m *running) read(ts *testscript.TestScript, text string) {
	for !strings.Contains(m.stdout.String(), text) {
		b, err := m.out.ReadByte()
		if err != nil {
			ts.Fatalf("it ended (%v) before it said %q; it said\n%s%s", m.finish(), text, m.stdout.String(), m.stderr.String())
		}
		m.stdout.WriteByte(b)
	}
	time.Sleep(20 * time.Millisecond) // until the pipe is full
}

// awaitViews waits until some process of the group has two roots of mounts
// open that are in no mount table, they read "/", and nothing is left of the
// places where they were mounted.
func (m *running) awaitViews(ts *testscript.TestScript) {
	for {
		if pid, ended := m.ended(); ended {
			ts.Fatalf("process %d ended before it walked", pid)
		}
		dirs, _ := filepath.Glob("/proc/[0-9]*/fd")
		for _, dir := range dirs {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
			if group, err := syscall.Getpgid(pid); err == nil && group == m.cmd.Process.Pid && openRoots(dir) >= 2 {
				points, _ := filepath.Glob(filepath.Join(ts.Getenv("TMPDIR"), "overlaydiff-mount-*"))
				if len(points) == 0 {
					return
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// ended reports whether the process is a zombie; only finish may wait for it.
func (m *running) ended() (pid int, yes bool) {
	pid = m.cmd.Process.Pid
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return pid, err != nil || strings.Contains(string(stat), ") Z ")
}

func openRoots(dir string) (n int) {
	fds, _ := os.ReadDir(dir)
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && to == "/" {
			n++
		}
	}
	return n
}

func (m *running) finish() error {
	if _, err := io.Copy(&m.stdout, m.out); err != nil {
		return err
	}
	m.waited = true
	return m.cmd.Wait()
}
