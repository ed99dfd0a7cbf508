package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// terminal is a tmux of its own with one window.
type terminal struct {
	t      *testing.T
	socket string
}

// openTerminal runs a shell's command line in a terminal. What it prints at its
// end stays to be read.
func openTerminal(t *testing.T, w, h int, command string) *terminal {
	t.Helper()
	m := &terminal{t, filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() {
		_ = m.command("kill-server").Run() // it may have ended
	})
	m.run("new-session", "-d", "-x", strconv.Itoa(w), "-y", strconv.Itoa(h), "sh", "-c", command+"; status=$?; echo; echo \"ended $status\"; exec sleep 100")
	return m
}

func (m *terminal) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(m.t.Context(), "tmux", append([]string{"-u", "-f", os.DevNull, "-S", m.socket}, args...)...)
	if args[0] == "kill-server" { // also when the test's time is over
		cmd = exec.Command(cmd.Path, cmd.Args[1:]...) //nolint:noctx // see above
	}
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	return cmd
}

func (m *terminal) run(args ...string) string {
	m.t.Helper()
	out, err := m.command(args...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

func (m *terminal) screen() string { return m.run("capture-pane", "-p") }

// wait waits for something on the screen, and returns the screen.
func (m *terminal) wait(want string) string {
	m.t.Helper()
	re, start := regexp.MustCompile(want), time.Now()
	for {
		text := m.screen()
		if re.MatchString(text) {
			return text
		}
		if time.Since(start) > 20*time.Second {
			m.t.Fatalf("no %s on the screen:\n%s", want, text)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// keys presses keys, by tmux's names for them, and waits.
func (m *terminal) keys(want string, keys ...string) string {
	m.t.Helper()
	m.run(append([]string{"send-keys"}, keys...)...)
	return m.wait(want)
}

// explored is an overlay, and the command line that explores it.
func explored(t *testing.T) (merged, command string) {
	t.Helper()
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	bin := install(t, filepath.Join(dir, "bin"))
	testenv.Tree(t, dir+"/lower", `file etc/conf content="one\ntwo\n" mtime=1`, "file etc/same size=900", "file etc/motd size=3", "file old/f size=70000")
	merged = testenv.Mount(t, testenv.Overlay{Lower: []string{dir + "/lower"}, Upper: dir + "/upper", Work: dir + "/work"})
	testenv.Do(t, merged, `write etc/conf "three\n"`, "open etc/same", "unlink etc/motd", "rmtree old", "mkdir srv", `create srv/file "hello\n"`)
	check(t, os.WriteFile(filepath.Join(merged, "srv/b\x1b[31m\x1b]0;title\ad\u202e\n"), []byte("x\x1b[2Jy\n"), 0o644))
	return merged, fmt.Sprintf("cd %s; GORACE=atexit_sleep_ms=0 %s/overlaydiff explore %s", dir, bin, merged)
}

func TestExplore(t *testing.T) {
	merged, command := explored(t)
	m := openTerminal(t, 100, 34, command)
	want := ` MERGED  (native engine)
 27 B  A 3  C 1  D 2  900 B copied up for nothing  68.4 KiB deleted, kept below
      SIZE      WASTE  PART      NAME
      27 B   69.2 KiB            ▾   /
      14 B      903 B  ████▏       ▾   etc/
      14 B             ████████        C conf
       0 B      900 B                  = same  copied up, not changed
         -        3 B                  D motd  kept below
      13 B             ███▊        ▾ A srv/
       7 B             ████▎           A "b\x1b[31m\x1b]0;title\ad\u202e\n"
       6 B             ███▋            A file
         -   68.4 KiB                D old/  kept below
`
	m.wait("27 B")
	got := m.keys("b.x1b", "E")
	got = strings.TrimRight(got[:strings.LastIndex(strings.TrimRight(got, "\n"), "\n")], "\n") + "\n" // the last line is checked below
	if d := cmp.Diff(want, strings.ReplaceAll(got, merged, "MERGED")); d != "" {
		t.Errorf("screen (-want +got):\n%s", d)
	}
	m.wait(`\? help  q quit`)
	m.keys(`│ /etc/conf`, "/", "conf", "Enter", "e")
	m.keys(`\*size +8 B +14 B`)
	m.keys(`C /etc/conf: modified: size, content, mtime`)
	m.keys(`upper +/`)
	m.keys(`│ \+three`)
	m.keys(`│ \+?x\^\[\[2Jy`, "/", "title", "Enter")
	m.keys("only waste.*\n.*\n.*\n.*old/  kept below", "e", "w")
	m.keys("nothing of this kind", "d", "f", "nosuch", "Enter")
	m.keys(`C conf`, "Escape")
	m.keys("any key goes back", "?")
	m.keys("help  q quit", "?")
	m.keys("13? ?B of /etc/conf written to mine|14 B of /etc/conf written to mine", "/", "conf", "Enter", "x", "C-u", "mine", "Enter")
	m.keys("live", "R")
	testenv.Do(t, merged, "create srv/later 12345678")
	m.wait("35 B  A 4")
	m.keys(`A later`, "R", "E")

	// Another size: the tree, and the details instead of it.
	m.run("resize-window", "-x", "20", "-y", "6")
	m.wait(`(?m)help  q quit$`)
	m.keys("C conf", "/", "conf", "Enter")
	m.keys("/etc/conf", "e")
	m.run("resize-window", "-x", "100", "-y", "30")
	m.wait(`│ \+three`)
	m.keys("ended 0", "q")
}

func TestExplore_EscapesStayInside(t *testing.T) {
	_, command := explored(t)
	log := filepath.Join(t.TempDir(), "log")
	m := openTerminal(t, 120, 24, command)
	m.run("pipe-pane", "cat >>"+log) // all that the terminal is sent from now on
	m.wait("27 B")
	m.keys("b.x1b", "E")
	m.keys(`x\^\[\[2Jy`, "/", "title", "Enter", "e")
	m.keys("ended 0", "q")
	sent, err := os.ReadFile(log)
	check(t, err)
	for _, bad := range []string{"\x1b]0;title", "\x1b[2Jy", "\u202e"} {
		if strings.Contains(string(sent), bad) {
			t.Errorf("the terminal is sent %q", bad)
		}
	}
	if !strings.Contains(string(sent), `\x1b[31m`) {
		t.Errorf("what it is sent was not written down: %q", sent)
	}
}

func TestExplore_Terminals(t *testing.T) {
	_, command := explored(t)
	for _, c := range []struct{ before, after, want string }{
		{"TERM=dumb; export TERM", "", "overlaydiff: explore needs a terminal .*: changes --tree"},
		{"", " | cat", "overlaydiff: explore needs a terminal"},
		{"", " </dev/null", "overlaydiff: explore needs a terminal"},
		{"TERM=nothing-like-it; export TERM", "", "overlaydiff: open the screen: .*set TERM"},
		{"", " --json", "overlaydiff: explore is for people: changes --json"},
	} {
		line := command + c.after
		if c.before != "" {
			line = c.before + "; " + line
		}
		text := openTerminal(t, 150, 10, line).wait("ended [02]")
		if !regexp.MustCompile(c.want).MatchString(text) || c.after != " | cat" && !strings.Contains(text, "ended 2") {
			t.Errorf("%s%s: no %s:\n%s", c.before, c.after, c.want, text)
		}
	}
}

func TestExplore_NoColor(t *testing.T) {
	_, command := explored(t)
	color := regexp.MustCompile(`\x1b\[(3[0-7]|9[0-7]|[34]8)`)
	for _, c := range []struct {
		env     string
		colored bool
	}{{"", true}, {"NO_COLOR=1; export NO_COLOR; ", false}} {
		m := openTerminal(t, 80, 20, c.env+command)
		m.wait("27 B")
		m.keys("A file", "E")
		if text := m.run("capture-pane", "-p", "-e"); color.MatchString(text) != c.colored {
			t.Errorf("%q: colored is not %v: %q", c.env, c.colored, text)
		}
		m.keys("ended 0", "q")
	}
}

// A signal gives the terminal back.
func TestExplore_Signalled(t *testing.T) {
	_, command := explored(t)
	before, last, _ := strings.Cut(command, "GORACE")
	m := openTerminal(t, 80, 20, before+"echo before; sh -c 'echo $$ >pid; exec env GORACE"+last+"'; stty -a")
	m.wait("27 B")
	if on := m.run("display-message", "-p", "#{alternate_on}"); on != "1\n" {
		t.Errorf("the other screen is not on: %s", on)
	}
	dir := strings.Fields(command)[1]
	text, err := os.ReadFile(filepath.Join(strings.TrimSuffix(dir, ";"), "pid"))
	check(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	check(t, err)
	check(t, syscall.Kill(pid, syscall.SIGTERM))
	screen := m.wait("ended 0") // of stty
	if on := m.run("display-message", "-p", "#{alternate_on}"); on != "0\n" {
		t.Errorf("the other screen is on: %s", on)
	}
	for _, want := range []string{"before", "overlaydiff: interrupted", " icanon", " echo "} {
		if !strings.Contains(screen, want) {
			t.Errorf("no %q:\n%s", want, screen)
		}
	}
}
