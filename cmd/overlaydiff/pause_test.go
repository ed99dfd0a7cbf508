package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// twins makes a directory its root and appends to the files a and z in lock step, first to a:
// z never has more. It ends with its input. Before, it says the process that shares its mounts
// and does nothing.
func twins() error {
	second := exec.Command("/proc/self/exe", "/")
	second.Args[0] = "hold"
	in, err := second.StdinPipe() // open as long as this process is
	if err == nil {
		err = second.Start()
	}
	if err != nil {
		return err
	}
	defer in.Close()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if err := errors.Join(syscall.Chroot(os.Args[1]), os.Chdir("/")); err != nil {
		return err
	}
	var files [2]*os.File
	for i, name := range []string{"/a", "/z"} {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		files[i] = f
	}
	for n := 0; ; n++ {
		for _, f := range files {
			if _, err := f.WriteString("."); err != nil {
				return err
			}
		}
		if n == 0 {
			fmt.Println(second.Process.Pid)
		}
		if n%1000 == 0 {
			time.Sleep(time.Millisecond) // others use the processor, too
		}
	}
}

// startTwins starts the writer in a control group, with mounts of its own as a container has
// them, and returns its processes and where its root is mounted. The second is in no group.
func startTwins(t *testing.T, g testenv.Cgroup) (pid, second int, merged string) {
	t.Helper()
	dir := testenv.Scratch(t, testenv.Tmpfs)
	testenv.Tree(t, dir, "file lower/l", "dir upper")
	return startTwinsOn(t, g, testenv.Overlay{Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")})
}

func startTwinsOn(t *testing.T, g testenv.Cgroup, o testenv.Overlay) (pid, second int, merged string) {
	t.Helper()
	testenv.Tree(t, o.Upper, "file m size=4000000") // is read after a, and before z
	merged = testenv.Mount(t, o)
	cmd := exec.Command("/proc/self/exe", merged)
	cmd.Args[0] = "twins"
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		g.Freeze(t, false) // or it can't be killed in version 1
		in.Close()
		_ = cmd.Wait()
	})
	if _, err := fmt.Fscan(out, &second); err != nil {
		t.Fatalf("the writer does not begin: %v", err)
	}
	g.Add(t, cmd.Process.Pid)
	return cmd.Process.Pid, second, merged
}

// pauses is how often a test does what goes wrong now and then.
func pauses(few int) int {
	n, _ := strconv.Atoi(os.Getenv("OVERLAYDIFF_CASES"))
	return cmp.Or(n, few)
}

// torn exports the overlay of a process and reports whether z has more than a.
func torn(t *testing.T, pid int, flags ...string) bool {
	t.Helper()
	var layer, said bytes.Buffer
	if status := run(append([]string{"export", "pid:" + strconv.Itoa(pid), "--pause-limit", "1m"}, flags...), &layer, &said); status != exitDone {
		t.Fatalf("status %d: %s", status, &said)
	}
	if paused := len(flags) > 0; paused != strings.Contains(said.String(), ": a point-in-time: the container was frozen for ") {
		t.Fatalf("%q says: %s", flags, &said)
	}
	has := map[string]int64{}
	for r := tar.NewReader(&layer); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		check(t, err)
		has[h.Name] = h.Size
	}
	a, z := has["a"], has["z"]
	if a == 0 || z == 0 {
		t.Fatalf("the layer has a and z of %d and %d bytes", a, z)
	}
	return z > a || a > z+1
}

// What is read with --pause is what was there at one time.
func TestPause_Torn(t *testing.T) {
	testenv.EachCgroup(t, func(t *testing.T, g testenv.Cgroup) {
		pid, second, _ := startTwins(t, g)
		g.Add(t, second)
		n := pauses(10)
		for i := range n {
			if torn(t, pid, "--pause") {
				t.Fatalf("export %d is no point-in-time", i)
			}
			if g.IsFrozen(t) {
				t.Fatalf("export %d left the container frozen", i)
			}
		}
		without := false
		for range 200 {
			if without = torn(t, pid); without {
				break
			}
		}
		if !without {
			t.Error("no export without --pause is torn: the test shows nothing")
		}
	})
}

// What is killed at any moment leaves nothing frozen for more than a second.
func TestPause_Killed(t *testing.T) {
	testenv.EachCgroup(t, func(t *testing.T, g testenv.Cgroup) {
		pid, second, _ := startTwins(t, g)
		g.Add(t, second)
		caught := 0
		for i := range pauses(10) {
			cmd := exec.Command("/proc/self/exe", "export", "--pause", "-o", filepath.Join(t.TempDir(), "layer"), "pid:"+strconv.Itoa(pid))
			cmd.Args[0] = "overlaydiff"
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			check(t, cmd.Start())
			if i%2 == 0 { // when it is frozen for certain
				for end := time.Now().Add(time.Second); !g.IsFrozen(t) && time.Now().Before(end); {
				}
			}
			time.Sleep(rand.N(10 * time.Millisecond))
			if g.IsFrozen(t) {
				caught++
			}
			check(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
			for killed := time.Now(); g.IsFrozen(t); {
				if time.Since(killed) > time.Second {
					t.Fatalf("kill %d: frozen for a second", i)
				}
			}
			_ = cmd.Wait()
		}
		time.Sleep(100 * time.Millisecond) // a guard that began late has come and gone
		if g.IsFrozen(t) || caught == 0 {
			t.Errorf("frozen at the end: %v; frozen when the signal came: %d times", g.IsFrozen(t), caught)
		}
	})
}

var saidPause = regexp.MustCompile(`,"pause":\{"frozen_seconds":[0-9.]*[1-9][0-9.e-]*,"paused_before":false,"point_in_time":true\}`)

// The answers in JSON say it, too, and all four commands take the flag.
func TestPause_Answers(t *testing.T) {
	testenv.EachCgroup(t, func(t *testing.T, g testenv.Cgroup) {
		pid, second, _ := startTwins(t, g)
		g.Add(t, second)
		name := "pid:" + strconv.Itoa(pid)
		file := filepath.Join(t.TempDir(), "layer")
		ask := func(args ...string) (status int, out, said string) {
			var stdout, stderr bytes.Buffer
			status = run(args, &stdout, &stderr)
			if _, err := os.Stat(file); g.IsFrozen(t) || status != exitDone && err == nil {
				t.Errorf("%q: frozen %v, the file %v", args, g.IsFrozen(t), err)
			}
			_ = os.Remove(file)
			return status, stdout.String(), stderr.String()
		}
		for _, args := range [][]string{
			{"size", "--json"}, {"verify", "--json"}, {"export", "--json", "-o", file},
			{"changes"}, {"changes", "--json"}, {"changes", "--tree"}, {"changes", "--stat"}, {"size"}, {"verify"}, {"export", "-o", file},
		} {
			status, out, said := ask(append(args, name, "--pause", "--pause-limit", "1m")...)
			if status != exitDone || !strings.Contains(said, "overlaydiff: a point-in-time: the container was frozen for ") {
				t.Errorf("%q: status %d: %s", args, status, said)
			}
			if args[0] != "changes" && len(args) > 1 && args[1] == "--json" &&
				!saidPause.MatchString(out) {
				t.Errorf("%q: %s", args, out)
			}
		}
		for _, args := range [][]string{
			{"size", name}, {"export", name, "-o", file}, {"changes", name}, {"verify", name},
		} {
			status, _, said := ask(append(args, "--pause", "--pause-limit", "1us")...)
			if status == exitDone {
				t.Errorf("%q took no time: %s", args, said)
			}
		}
		g.Freeze(t, true)
		var stdout, stderr bytes.Buffer
		for range 100 { // until its process stands still
			stdout.Reset()
			stderr.Reset()
			if run([]string{"size", "--json", "--pause", name}, &stdout, &stderr) == exitDone {
				break
			}
		}
		if !strings.Contains(stdout.String(), `"paused_before":true,"point_in_time":true}`) || !g.IsFrozen(t) {
			t.Errorf("paused before: frozen %v: %s%s", g.IsFrozen(t), &stdout, &stderr)
		}
		g.Freeze(t, false)
	})
}

// A container that is named is frozen as a whole, the groups that it made itself, too. One
// without a process is refused.
func TestPause_Container(t *testing.T) {
	testenv.EachCgroup(t, func(t *testing.T, g testenv.Cgroup) {
		id := func(digit string) string { return strings.Repeat(digit, 64) }
		root := testenv.Scratch(t, testenv.Tmpfs)
		store := filepath.Join(root, "var/lib/docker")
		over := func(name string) string { return filepath.Join(store, "overlay2", name, "diff") }
		whole := g.Below(t, id("a"))
		inner := whole.Below(t, "init")
		testenv.Tree(t, store, "file overlay2/"+id("4")+"/diff/l", "dir overlay2/"+id("7")+"-init/diff", "dir overlay2/"+id("7")+"/diff")
		pid, second, _ := startTwinsOn(t, inner, testenv.Overlay{
			Lower: []string{over(id("7") + "-init"), over(id("4"))}, Upper: over(id("7")), Work: filepath.Join(store, "overlay2", id("7"), "work"),
		})
		whole.Add(t, second)
		state := func(running bool, pid int) string {
			return fmt.Sprintf(`{"State":{"Running":%v,"Pid":%d,"StartedAt":"2026-01-02T03:04:06Z"},"ID":%q,"Config":{"Image":"x"},"Image":%q,"Name":"/web","Driver":"overlay2"}`,
				running, pid, id("a"), "sha256:"+id("9"))
		}
		db := "image/overlay2/layerdb/"
		for name, text := range map[string]string{
			"containers/" + id("a") + "/config.v2.json": state(true, pid),
			db + "mounts/" + id("a") + "/mount-id":      id("7"), db + "mounts/" + id("a") + "/init-id": id("7") + "-init",
			db + "mounts/" + id("a") + "/parent": "sha256:" + id("2"), db + "sha256/" + id("2") + "/size": "200",
			db + "sha256/" + id("2") + "/diff": "sha256:" + id("6"), db + "sha256/" + id("2") + "/cache-id": id("4"),
		} {
			testenv.Tree(t, store, fmt.Sprintf("file %s content=%q", name, text))
		}
		var out, said bytes.Buffer
		if status := run([]string{"size", "--json", "--root", root, "--pause", "--pause-limit", "1m", "web"}, &out, &said); status != exitDone || !saidPause.MatchString(out.String()) {
			t.Errorf("status %d: %s%s", status, &said, &out)
		}
		check(t, os.WriteFile(filepath.Join(store, "containers", id("a"), "config.v2.json"), []byte(state(false, 0)), 0o600))
		said.Reset()
		if status := run([]string{"size", "--root", root, "--pause", "web"}, &out, &said); status != exitFailed || !strings.Contains(said.String(), "container web: it has no process") {
			t.Errorf("stopped: status %d: %s", status, &said)
		}
	})
}

// What can't be frozen, or must not be, is not.
func TestPause_Refused(t *testing.T) {
	testenv.EachCgroup(t, func(t *testing.T, g testenv.Cgroup) {
		pid, second, merged := startTwins(t, g)
		name := "pid:" + strconv.Itoa(pid)
		refused := func(status int, said string, args ...string) {
			t.Helper()
			var out, errs bytes.Buffer
			got := run(append([]string{"size", "--pause"}, args...), &out, &errs)
			if got != status || !strings.Contains(errs.String(), said) || out.Len() > 0 || g.IsFrozen(t) {
				t.Errorf("%q: status %d, frozen %v: %s%s", args, got, g.IsFrozen(t), &errs, &out)
			}
		}
		refused(exitUsage, "name it, or a process of it as pid:N", "--old", "/proc", "--new", "/sys")
		refused(exitUsage, "those that write to a mount are not known", merged)
		refused(exitUsage, "say how long the container may stand still", name, "--pause-limit", "0s")

		accepted := func() {
			t.Helper()
			var said bytes.Buffer
			if status := run([]string{"size", "--pause", name}, io.Discard, &said); status != exitDone {
				t.Errorf("status %d: %s", status, &said)
			}
		}
		elsewhere := testenv.Cgroup{Dir: filepath.Dir(g.Dir)}

		refused(exitUnsupported, "has the same mounts and is outside of it", name)
		g.Add(t, second)
		accepted()

		runtime := startConmon(t)
		g.Add(t, runtime)
		refused(exitUnsupported, "(conmon) in it belongs to the runtime", name)
		elsewhere.Add(t, runtime)
		accepted()

		home := g.Home()
		g.Add(t, os.Getpid())
		refused(exitUnsupported, "overlaydiff itself runs in it", name)
		home.Add(t, os.Getpid())
		accepted()

		elsewhere.Add(t, pid) // the root group, which has no freezer
		refused(exitUnsupported, "it is in no control group with a freezer", name)
		g.Add(t, pid)
		accepted()
	})
}

// startConmon starts a process that has the name of a container monitor.
func startConmon(t *testing.T) int {
	t.Helper()
	self, err := os.Executable()
	check(t, err)
	name := filepath.Join(t.TempDir(), "conmon")
	check(t, os.Symlink(self, name))
	cmd := exec.Command(name, "/")
	cmd.Args[0] = "hold"
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("hold says %q, %v", line, err)
	}
	return cmd.Process.Pid
}
