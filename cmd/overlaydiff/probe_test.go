package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func list(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// probing is one overlaydiff probe, with a process group and a mark in its
// environment by which its processes are found.
type probing struct {
	*exec.Cmd
	out, err strings.Builder
}

const probeMark = "OVERLAYDIFF_TEST_PROBE"

func startProbe(t *testing.T, mark string, args ...string) *probing {
	t.Helper()
	p := &probing{Cmd: exec.Command("/proc/self/exe", append([]string{"probe"}, args...)...)}
	p.Args[0] = "overlaydiff"
	p.Env = append(os.Environ(), probeMark+"="+mark, "GORACE=atexit_sleep_ms=0")
	p.Stdout, p.Stderr = &p.out, &p.err
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.WaitDelay = 10 * time.Second // for a child that has our pipes
	check(t, p.Start())
	return p
}

// end waits for it and returns the exit status, -1 if a signal ended it.
func (p *probing) end() int {
	_ = p.Wait()
	return p.ProcessState.ExitCode()
}

// probeOnce runs one that must succeed and returns its JSON.
func probeOnce(t *testing.T, mark, dir string) string {
	t.Helper()
	p := startProbe(t, mark, "--json", dir)
	if status := p.end(); status != 0 || p.err.Len() > 0 {
		t.Fatalf("exit status %d: %s", status, p.err.String())
	}
	if err := checkProbeJSON(p.out.String()); err != nil {
		t.Error(err)
	}
	return p.out.String()
}

// marked returns the processes of a test that are left, after a moment for them
// to end.
func marked(mark string) (left []string) {
	for wait := time.Millisecond; wait < 4*time.Second; wait *= 2 {
		left = nil
		names, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, name := range names {
			if env, err := os.ReadFile(name); err == nil && strings.Contains(string(env), probeMark+"="+mark+"\x00") {
				line, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
				left = append(left, fmt.Sprintf("%s %q", filepath.Dir(name), line))
			}
		}
		if len(left) == 0 {
			return nil
		}
		time.Sleep(wait)
	}
	return left
}

// mountTable is the mount points of this namespace.
func mountTable(t *testing.T) []string {
	table, err := os.ReadFile("/proc/self/mountinfo")
	check(t, err)
	var points []string
	for line := range strings.Lines(string(table)) {
		points = append(points, strings.Fields(line)[4])
	}
	return points
}

// seeded returns a source of randomness and prints how to have it again.
func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv("OVERLAYDIFF_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		check(t, err)
	}
	t.Logf("OVERLAYDIFF_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// took returns how long an undisturbed run takes.
func took(t *testing.T, mark, dir string) time.Duration {
	t.Helper()
	start := time.Now()
	probeOnce(t, mark, dir)
	return time.Since(start)
}

// TestProbe_Killed kills it in the middle. Its mounts and its child end with it;
// its scratch directory the next run removes.
func TestProbe_Killed(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir, before, random := testenv.Scratch(t, fs), mountTable(t), seeded(t)
		whole := took(t, dir, dir)
		left := 0
		for range 12 {
			p := startProbe(t, dir, "--json", dir)
			time.Sleep(time.Duration(random.Int64N(int64(whole))))
			check(t, p.Process.Kill())
			p.end()
			left += len(list(dir))
			if processes := marked(dir); len(processes) > 0 {
				t.Fatalf("processes of a killed probe: %q", processes)
			}
			if d := cmp.Diff(before, mountTable(t)); d != "" {
				t.Fatalf("mounts of a killed probe (-before +after):\n%s", d)
			}
			for _, name := range list(dir) {
				if !strings.HasPrefix(name, ".overlaydiff-probe-") {
					t.Fatalf("it left %s, which no other run takes for a leftover", name)
				}
			}
			unlocked(t, dir)
			if n := len(list(dir)); n > 1 {
				t.Fatalf("%d scratch directories: it did not remove those before it made one", n)
			}
		}
		if left == 0 {
			t.Error("none was killed in the middle")
		}
		// What is left now belongs to nobody.
		probeOnce(t, dir, dir)
		if names := list(dir); len(names) > 0 {
			t.Errorf("left in the directory: %q", names)
		}
	})
}

// unlocked waits until nobody holds a scratch directory in dir: a process that
// ends has no environment any more when it still has its files.
func unlocked(t *testing.T, dir string) {
	t.Helper()
	for _, name := range list(dir) {
		f, err := os.Open(filepath.Join(dir, name))
		check(t, err)
		wait := time.Millisecond
		for syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			if wait > 2*time.Second {
				t.Fatalf("%s is locked, but there is no process", name)
			}
			time.Sleep(wait)
			wait *= 2
		}
		check(t, f.Close())
	}
}

// TestProbe_AfterKilled starts the next run at once, when the child of the
// killed one may work yet.
func TestProbe_AfterKilled(t *testing.T) {
	dir, random := testenv.Scratch(t, testenv.Tmpfs), seeded(t)
	whole := took(t, dir, dir)
	want := probeOnce(t, dir, dir)
	for range 15 {
		p := startProbe(t, dir, "--json", dir)
		time.Sleep(time.Duration(random.Int64N(int64(whole))))
		check(t, p.Process.Kill())
		p.end()
		if d := cmp.Diff(want, probeOnce(t, dir, dir)); d != "" {
			t.Errorf("another answer after one that was killed:\n%s", d)
		}
	}
	if processes := marked(dir); len(processes) > 0 {
		t.Fatalf("processes: %q", processes)
	}
	probeOnce(t, dir, dir)
	if names := list(dir); len(names) > 0 {
		t.Errorf("left in the directory: %q", names)
	}
}

// TestProbe_Signalled interrupts it in the middle: nothing is left.
func TestProbe_Signalled(t *testing.T) {
	dir, before, random := testenv.Scratch(t, testenv.Tmpfs), mountTable(t), seeded(t)
	whole := took(t, dir, dir)
	interrupted := 0
	for i := range 24 {
		signal := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}[i%3]
		p := startProbe(t, dir, "--json", dir)
		time.Sleep(time.Duration(random.Int64N(int64(whole))))
		to := p.Process.Pid
		if i%2 == 0 {
			to = -to // as the terminal does
		}
		check(t, syscall.Kill(to, signal))
		switch status := p.end(); status {
		case exitDone: // it was too late
			if err := checkProbeJSON(p.out.String()); err != nil {
				t.Errorf("%v in the end: %v", signal, err)
			}
		case -1: // too early or too late: nobody listened
			if p.err.Len() > 0 || p.out.Len() > 0 && checkProbeJSON(p.out.String()) != nil {
				t.Errorf("%v ended it after it said %q, %q", signal, p.out.String(), p.err.String())
			}
		case exitFailed:
			interrupted++
			if p.out.Len() > 0 || p.err.String() != "overlaydiff: interrupted\n" {
				t.Errorf("%v: it says %q, %q", signal, p.out.String(), p.err.String())
			}
		default:
			t.Errorf("%v: exit status %d: %s", signal, status, p.err.String())
		}
		if names := list(dir); len(names) > 0 {
			t.Fatalf("%v: left in the directory: %q", signal, names)
		}
		if processes := marked(dir); len(processes) > 0 {
			t.Fatalf("%v: processes: %q", signal, processes)
		}
	}
	if d := cmp.Diff(before, mountTable(t)); d != "" {
		t.Errorf("mounts (-before +after):\n%s", d)
	}
	if interrupted == 0 {
		t.Error("none was interrupted in the middle")
	}
}

// TestProbe_Together runs several in one directory: none takes the scratch
// directory of another for a leftover.
func TestProbe_Together(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := testenv.Scratch(t, fs)
		want := probeOnce(t, dir, dir)
		check(t, os.MkdirAll(filepath.Join(dir, ".overlaydiff-probe-123/1/w/work"), 0o755)) // one to race for
		for range 2 {
			var all []*probing
			for range 6 {
				all = append(all, startProbe(t, dir, "--json", dir))
			}
			for _, p := range all {
				if status := p.end(); status != 0 || p.err.Len() > 0 {
					t.Errorf("exit status %d: %s", status, p.err.String())
				}
				if d := cmp.Diff(want, p.out.String()); d != "" {
					t.Errorf("another answer than alone (-alone +together):\n%s", d)
				}
			}
			if names := list(dir); len(names) > 0 {
				t.Errorf("left in the directory: %q", names)
			}
		}
	})
}

// TestProbe_Leftovers is about what looks like a leftover.
func TestProbe_Leftovers(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	in := func(name string) string { return filepath.Join(dir, ".overlaydiff-probe-"+name) }
	check(t, os.MkdirAll(in("1/3/u/o"), 0o755))
	check(t, os.WriteFile(in("1/3/u/o/f"), nil, 0o600))
	check(t, os.MkdirAll(in("1/3/w/work"), 0o755))
	check(t, os.Chmod(in("1/3/w/work"), 0))
	// Not ours: another user's, a file, a symbolic link, and what one leads to.
	check(t, os.Mkdir(in("2"), 0o755))
	check(t, os.Chown(in("2"), nobody, nobody))
	check(t, os.WriteFile(in("3"), nil, 0o600))
	check(t, os.Symlink("kept", in("4")))
	check(t, os.MkdirAll(filepath.Join(dir, "kept/file"), 0o755))
	// In use.
	check(t, os.Mkdir(in("5"), 0o755))
	used, err := os.Open(in("5"))
	check(t, err)
	defer used.Close()
	check(t, syscall.Flock(int(used.Fd()), syscall.LOCK_EX))

	probeOnce(t, dir, dir)
	const p = ".overlaydiff-probe-"
	if d := cmp.Diff([]string{p + "2", p + "3", p + "4", p + "5", "kept"}, list(dir)); d != "" {
		t.Errorf("what is there now (-want +got):\n%s", d)
	}
	if names := list(filepath.Join(dir, "kept")); len(names) != 1 {
		t.Errorf("behind the symbolic link: %q", names)
	}
	check(t, used.Close())
	probeOnce(t, dir, dir)
	if _, err := os.Lstat(in("5")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there still, though nobody uses it: %v", err)
	}
}

// TestProbe_Full asks on a file system that becomes full, each time a little
// later. Whatever can't be told is not a no.
func TestProbe_Full(t *testing.T) {
	parent := testenv.Scratch(t, testenv.Tmpfs)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // of the child
	ask := func(options string) map[string]features.Result {
		dir := filepath.Join(parent, "d")
		check(t, os.MkdirAll(dir, 0o755))
		check(t, syscall.Mount("overlaydiff", dir, "tmpfs", syscall.MS_NODEV, options))
		defer func() { check(t, syscall.Unmount(dir, 0)) }()
		r, err := probe(t.Context(), dir, "")
		if err != nil {
			t.Errorf("%s: %v", options, err)
		}
		if err := checkReport(r); err != nil {
			t.Errorf("%s: %v", options, err)
		}
		if names := list(dir); len(names) > 0 {
			t.Errorf("%s: left: %q", options, names)
		}
		answers := map[string]features.Result{}
		for _, f := range r.Features {
			answers[f.Name] = f
		}
		return answers
	}
	want := ask("mode=755")
	var limits []string
	for n := 1; n <= 60; n += 1 + n/8 {
		limits = append(limits, fmt.Sprintf("nr_inodes=%d", n), fmt.Sprintf("size=%d", n*os.Getpagesize()))
	}
	for _, limit := range limits {
		for name, got := range ask("mode=755," + limit) {
			if got.Answer != features.Unknown && got.Answer != want[name].Answer {
				t.Errorf("%s: %s is %s: %s; with enough space it is %s", limit, name, got.Answer, got.Reason, want[name].Answer)
			}
		}
	}
}

// TestProbe_Cancelled ends the context at any moment.
func TestProbe_Cancelled(t *testing.T) {
	dir, random := testenv.Scratch(t, testenv.Tmpfs), seeded(t)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // of the child
	start := time.Now()
	_, err := probe(t.Context(), dir, "index=on")
	check(t, err)
	whole := time.Since(start)
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.Int64N(int64(whole))))
		if _, err := probe(ctx, dir, "index=on"); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
		if names := list(dir); len(names) > 0 {
			t.Fatalf("left: %q", names)
		}
	}
}
