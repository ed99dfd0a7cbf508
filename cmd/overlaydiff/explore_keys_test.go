package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// keySteps presses each key that the help names, where it has something to do. A line
// is what is pressed, by tmux's names, and "quoted" what is typed.
const keySteps = `
?
?
E
G
Home
End
g
Down
Down
Up
j
k
C-d
C-u
PageDown
PageUp
C-f
C-b
Space
g
C
j
l
h
Right
Left
Enter
E
/ "f1*" Enter
n
n
N
w
Escape
f "conf" Enter
f C-u Enter
a
a
c
c
d
d
w
w
s
s
/ "conf" Enter
e
Tab
j
k
Tab
e
Enter
Escape
x C-u "mine" Enter
r
R
R
q
C-c`

// TestExplore_Keys compares the screen after each of them.
func TestExplore_Keys(t *testing.T) {
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	bin := install(t, filepath.Join(dir, "bin"))
	tree := []string{`file etc/conf content="one\ntwo\n" mtime=1`, "file etc/same size=900 mtime=2", "file etc/motd size=3", "file old/f size=70000", "file var/log/a size=50"}
	changes := []string{`write etc/conf "three\n"`, "utimes etc/conf 3", "open etc/same", "unlink etc/motd", "rmtree old", "mkdir srv", "mkdir srv/deep"}
	for i := range 20 {
		changes = append(changes, fmt.Sprintf("create srv/deep/f%d %q", i, strings.Repeat("x", 10*i)))
	}
	testenv.Tree(t, dir+"/lower", tree...)
	merged := testenv.Mount(t, testenv.Overlay{Lower: []string{dir + "/lower"}, Upper: dir + "/upper", Work: dir + "/work"})
	testenv.Do(t, merged, changes...)
	explore := fmt.Sprintf("NO_COLOR=1 GORACE=atexit_sleep_ms=0 %s/overlaydiff explore %s", bin, merged)
	m := openTerminal(t, 90, 34, "cd "+dir+"; "+explore+"; "+explore)

	const golden = "testdata/explore-keys.txt"
	want := map[string]string{}
	kept, err := os.ReadFile(golden)
	if *update {
		kept, err = nil, nil
	}
	check(t, err)
	for part := range strings.SplitSeq(string(kept), "\n== ") {
		name, screen, _ := strings.Cut(part, "\n")
		want[name] = screen
	}
	m.wait("1.9 KiB")
	var all strings.Builder
	pressed := map[string]bool{}
	help, before := "", ""
	for i, line := range strings.Split(strings.TrimSpace(keySteps), "\n") {
		if line == "r" {
			testenv.Do(t, merged, "create srv/more 1")
		}
		for key := range strings.FieldsSeq(line) {
			pressed[helpKeys.Replace(key)] = true
			if text, typed := strings.CutPrefix(key, `"`); typed {
				m.run("send-keys", "-l", strings.TrimSuffix(text, `"`))
			} else {
				m.run("send-keys", key)
			}
		}
		if i == 1 {
			m.run("resize-window", "-x", "90", "-y", "14") // only the help is that long
		}
		name := fmt.Sprintf("%d %s", i+1, line)
		got := m.settled(merged, want[name])
		if i == 0 {
			help = got
		}
		if got == before {
			t.Errorf("%s changes nothing", name)
		}
		before = got
		fmt.Fprintf(&all, "\n== %s\n%s", name, got)
		if d := cmp.Diff(want[name], got); d != "" && !*update {
			t.Fatalf("after %s (-want +got):\n%s", name, d)
		}
	}
	for line := range strings.Lines(help) {
		keys, what, _ := strings.Cut(strings.TrimLeft(line, "> "), "  ")
		for key := range strings.FieldsSeq(keys) {
			if what != "" && !pressed[key] {
				t.Errorf("%s (%s) is not pressed", key, strings.TrimSpace(what))
			}
		}
	}
	if *update {
		check(t, os.WriteFile(golden, []byte(all.String()), 0o644))
	}
}

// settled waits until the screen is the wanted one, and at most until it does not
// change any more. Lines that are shown inverse begin with >, times are left out.
func (m *terminal) settled(merged, want string) string {
	m.t.Helper()
	last, start := "", time.Now()
	since := start
	for {
		var b strings.Builder
		inverse := false
		for line := range strings.Lines(strings.TrimRight(m.run("capture-pane", "-p", "-e"), "\n") + "\n") {
			mark, text := "  ", ""
			for i, part := range strings.Split(strings.TrimSuffix(line, "\n"), "\x1b[") {
				if i > 0 { // it begins with attributes
					var attributes string
					attributes, part, _ = strings.Cut(part, "m")
					for a := range strings.SplitSeq(attributes, ";") {
						inverse = a == "7" || inverse && a != "27" && a != "0" && a != ""
					}
				}
				if text += part; inverse && part != "" {
					mark = "> "
				}
			}
			b.WriteString(strings.TrimRight(mark+text, " ") + "\n")
		}
		text := clock.ReplaceAllString(strings.ReplaceAll(b.String(), merged, "MERGED"), "TIME")
		text = engine.ReplaceAllString(text, "$1  ") // as wide as the name leaves room
		switch {
		case text == want:
			return text
		case text != last:
			last, since = text, time.Now()
		case *update && time.Since(since) > time.Second, time.Since(start) > 10*time.Second:
			return text
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var (
	engine = regexp.MustCompile(`(\(native engine\)) +`)
	clock  = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?`)

	// helpKeys turns tmux's names into those of the help.
	helpKeys = strings.NewReplacer("C-c", "Ctrl-C", "C-d", "Ctrl-D", "C-u", "Ctrl-U", "C-f", "Ctrl-F", "C-b", "Ctrl-B",
		"PageDown", "PgDn", "PageUp", "PgUp", "Escape", "Esc")
)
