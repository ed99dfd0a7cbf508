package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Cgroup is a control group that a test made, with a freezer.
type Cgroup struct {
	Dir string
	V2  bool
}

// EachCgroup runs a test in a new control group of each version that has a freezer here, and
// takes the group away, with what runs in it.
func EachCgroup(t *testing.T, test func(t *testing.T, g Cgroup)) {
	t.Helper()
	RequireRoot(t)
	ran := false
	for _, g := range []Cgroup{{"/sys/fs/cgroup", true}, {"/sys/fs/cgroup/unified", true}, {"/sys/fs/cgroup/freezer", false}} {
		parent := g.Dir
		g.Dir = filepath.Join(parent, fmt.Sprintf("overlaydiff-test-%d", os.Getpid()))
		file, name := "freezer.state", "v1"
		if g.V2 {
			file, name = "cgroup.freeze", "v2"
		}
		if _, err := os.Stat(filepath.Join(parent, "cgroup.procs")); err != nil || os.Mkdir(g.Dir, 0o755) != nil {
			continue // no hierarchy is mounted there, or none of ours
		}
		_, err := os.Stat(filepath.Join(g.Dir, file))
		g.remove(t)
		if err != nil {
			continue
		}
		ran = true
		t.Run(name, func(t *testing.T) {
			if err := os.Mkdir(g.Dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { g.remove(t) })
			test(t, g)
		})
	}
	if !ran {
		Absent(t, "", Freezers)
	}
}

// Below makes a group in the group, until the end of the test.
func (g Cgroup) Below(tb testing.TB, name string) Cgroup {
	tb.Helper()
	g.Dir = filepath.Join(g.Dir, name)
	if err := os.Mkdir(g.Dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { g.remove(tb) })
	return g
}

// Home returns the group in the same hierarchy that this process is in, or else the root group.
func (g Cgroup) Home() Cgroup {
	top := filepath.Dir(g.Dir)
	table, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(table)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || g.V2 != (f[0] == "0") || !g.V2 && f[1] != "freezer" {
			continue
		}
		home := Cgroup{Dir: filepath.Join(top, f[2]), V2: g.V2}
		if _, err := os.Stat(filepath.Join(home.Dir, "cgroup.procs")); err == nil {
			return home
		}
	}
	return Cgroup{Dir: top, V2: g.V2}
}

// Add puts a process into the group.
func (g Cgroup) Add(tb testing.TB, pid int) {
	tb.Helper()
	g.write(tb, "cgroup.procs", strconv.Itoa(pid))
}

// Freeze freezes or thaws the group, without waiting.
func (g Cgroup) Freeze(tb testing.TB, frozen bool) {
	tb.Helper()
	switch {
	case g.V2 && frozen:
		g.write(tb, "cgroup.freeze", "1")
	case g.V2:
		g.write(tb, "cgroup.freeze", "0")
	case frozen:
		g.write(tb, "freezer.state", "FROZEN")
	default:
		g.write(tb, "freezer.state", "THAWED")
	}
}

// IsFrozen reports whether somebody froze the group, or is about to.
func (g Cgroup) IsFrozen(tb testing.TB) bool {
	tb.Helper()
	file, thawed := "freezer.state", "THAWED\n"
	if g.V2 {
		file, thawed = "cgroup.freeze", "0\n"
	}
	state, err := os.ReadFile(filepath.Join(g.Dir, file))
	if err != nil {
		tb.Fatal(err)
	}
	return string(state) != thawed
}

func (g Cgroup) write(tb testing.TB, file, word string) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(g.Dir, file), []byte(word), 0); err != nil {
		tb.Fatal(err)
	}
}

// remove waits for what was killed in it: a group with a process can't be removed.
func (g Cgroup) remove(tb testing.TB) {
	for range 1000 {
		err := syscall.Rmdir(g.Dir)
		if err == nil || errors.Is(err, syscall.ENOENT) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	tb.Errorf("%s can't be removed: a process is in it", g.Dir)
}
