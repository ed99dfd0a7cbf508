package torture_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
)

// faultPoint is one injection that is to be done.
type faultPoint struct {
	command int
	fault
}

// TestFaults makes system calls of all commands fail, one after the other.
func TestFaults(t *testing.T) {
	needInjector(t)
	run := torture.Start(t, torture.Faults, 30)
	s := newScene(t)
	f := newFaults(t, s)
	seed := faultSeed(t)
	points := f.plan(rand.New(rand.NewPCG(seed, 0)))
	t.Logf("%d points, in an order of %s=%d", len(points), seedEnv, seed)
	only := os.Getenv(faultEnv)
	random := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i < len(points) && (only != "" || run.More()); i++ {
		p := points[i]
		if only != "" && f.label(p) != only {
			continue
		}
		f.try(p, 1+3*random.IntN(2))
	}
	if f.tried == f.missed {
		t.Errorf("no fault was injected, of %s=%q", faultEnv, only)
	}
	run.Count("faults injected", f.tried-f.missed)
	run.Note("Of the %d pairs of a system call and an error in %d commands, %d were tried. The commands absorbed %d faults with the right answer, and said %d times why there is none; %d faults were in calls of the Go runtime's own.",
		len(points), len(f.commands), f.tried, f.absorbed, f.told, f.runtime)
	if f.left > 0 {
		run.Note("After %d faults something was left, since its removal failed: the command named it, and its next run removed it.", f.left)
	}
	f.log()
}

const (
	seedEnv  = "OVERLAYDIFF_SEED"
	faultEnv = "OVERLAYDIFF_FAULT"
)

// faultSeed is a seed of its own for every run, or the one that is set.
func faultSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv(seedEnv)
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", seedEnv, err)
	}
	return seed
}

// faults is one run of the test.
type faults struct {
	*trials
	calls []map[string]int // of each command

	tried, missed, absorbed, told, runtime, left int
	perCommand                                   []int
}

func newFaults(t *testing.T, s *scene) *faults {
	f := &faults{trials: newTrials(t, s, s.commands())}
	f.perCommand = make([]int, len(f.commands))
	for i := range f.commands {
		c := &f.commands[i]
		f.prepare(c)
		f.calls = append(f.calls, s.calls(t, c.args...))
	}
	return f
}

// plan returns all points, in an order in which any beginning has about as many of
// each command and call: one of each, another of each, and so on.
func (f *faults) plan(random *rand.Rand) (points []faultPoint) {
	var groups [][]faultPoint
	for i := range f.commands {
		for _, call := range slices.Sorted(maps.Keys(f.calls[i])) {
			var group []faultPoint
			for n := range f.calls[i][call] {
				for _, errno := range errorsOf(call) {
					group = append(group, faultPoint{i, fault{call, errno, n + 1}})
				}
			}
			random.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
			groups = append(groups, group)
		}
	}
	for len(groups) > 0 {
		random.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
		for i, g := range groups {
			points = append(points, g[0])
			groups[i] = g[1:]
		}
		groups = slices.DeleteFunc(groups, func(g []faultPoint) bool { return len(g) == 0 })
	}
	return points
}

func (f *faults) label(p faultPoint) string {
	return f.commands[p.command].name + " " + p.String()
}

// try does one.
func (f *faults) try(p faultPoint, procs int) {
	c := &f.commands[p.command]
	f.prepare(c)
	env := []string{"GOMAXPROCS=" + strconv.Itoa(procs)}
	r := f.scene.run(f.t, env, append(f.scene.injected(p.fault), c.args...)...)
	f.tried++
	hit := f.scene.hit(f.t)
	if hit == "" && !r.hung {
		f.missed++ // how often a call is made differs a little from run to run
		return
	}
	f.perCommand[p.command]++
	if complaints := f.judge(c, p, r, hit); len(complaints) > 0 {
		f.t.Errorf("%s (GOMAXPROCS=%d): %s\n%s %s\nstdout:\n%.2000s\nstderr:\n%.4000s\nagain: %s=%q go test -run '^TestFaults$' ./testenv/torture",
			f.label(p), procs, strings.Join(complaints, "; "), p.call, hit, r.stdout, r.stderr, faultEnv, f.label(p))
	}
}

// judge returns what is wrong.
func (f *faults) judge(c *faultyCommand, p faultPoint, r *ran, hit string) (complaints []string) {
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	if r.hung && !forkCall(p.call, hit) {
		complain("it hung")
	}
	if r.orphans {
		complain("processes are left")
	}
	fatal := runtimeCall(p.call, hit) && strings.Contains(r.stderr, "fatal error: ")
	made := c.made
	switch {
	case fatal, forkCall(p.call, hit):
		f.runtime++
	case strings.Contains(r.stderr, "goroutine "):
		complain("it crashed")
	case r.status == 0:
		f.absorbed++
		if err := f.checkAnswer(c, p.command, r, p.errno); err != nil {
			complain("exit status 0, and %v", err)
		}
	default:
		f.told++
		complaints = append(complaints, checkFailure(c, f.want[p.command], r, p.call, hit)...)
		// EPERM may be told as what it takes to be permitted; the demo looks for what it can
		// read, and may find nothing.
		otherwise := p.errno == "EPERM" && r.status == 4 || c.name == "demo"
		if !strings.Contains(r.stderr, faultNumbers[p.errno].Error()) && r.stderr != "" && !otherwise {
			complain("it does not say why")
		}
		switch {
		case c.made == "" || c.inPlace != "" || c.empty && emptyDir(filepath.Join(f.scene.work, c.made)):
		case !toStdout(p.call, hit):
			made = ""
		default: // it was done, and only could not be told
			if err := f.checkResult(c, p.command); err != nil {
				complain("it could not write the answer, and %v", err)
			}
		}
	}
	left := f.scene.left(made)
	if len(left) > 0 && !fatal && !r.hung { // which was killed
		f.left++
		if r.status == 0 || !saysWhatIsLeft(r.stderr) {
			complain("it left %q and did not say so", left)
		}
	}
	if len(left) > 0 || r.status != 0 && c.inPlace != "" {
		complaints = append(complaints, f.again(c, p.command)...)
	}
	return complaints
}

var listed = regexp.MustCompile(`^(?:([ACDE]) |\{"kind":"([a-z]+)","path":)("(?:[^"\\]|\\.)*"|[^\n]*)`)

// listedPath returns the path of a line of a list, and whether the line says that it can't
// be read. ok is false for other lines.
func listedPath(line string) (path string, unreadable, ok bool) {
	m := listed.FindStringSubmatch(line)
	if m == nil {
		return "", false, false
	}
	return strings.Trim(m[3], `"`), m[1] == "E" || m[2] == "unreadable", true
}

// isPartOf reports whether what was said is the beginning of an answer: all of it, without
// what is at and below paths of which it says that they can't be read.
func isPartOf(said, answer string) bool {
	var unread []string
	var rest strings.Builder
	for line := range strings.Lines(said) {
		if path, unreadable, ok := listedPath(line); ok && unreadable {
			unread = append(unread, path)
		} else {
			rest.WriteString(line)
		}
	}
	var want strings.Builder
	for line := range strings.Lines(answer) {
		path, _, ok := listedPath(line)
		if !ok || !slices.ContainsFunc(unread, func(u string) bool { return path == u || strings.HasPrefix(path, u+"/") }) {
			want.WriteString(line)
		}
	}
	return strings.HasPrefix(want.String(), rest.String())
}

func TestIsPartOf(t *testing.T) {
	const answer = "A /a\nC /d\nC /d/f\nD /e\n"
	for said, want := range map[string]bool{
		"": true, "A /a\n": true, answer: true, "C /d\n": false, answer + "D /x\n": false,
		"A /a\nC /d\nE /d/f\nD /e\n": true, "A /a\nE /d\nD /e\n": true, "A /a\nE /d\nC /d/f\n": false, "E /a\nC /d\nD /e\n": false,
	} {
		if got := isPartOf(said, answer); got != want {
			t.Errorf("%q: %t", said, got)
		}
	}
}

// checkFailure returns what is wrong with a failure.
func checkFailure(c *faultyCommand, want, r *ran, call, hit string) (complaints []string) {
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	if r.status != 1 && r.status != 4 {
		complain("exit status %d", r.status)
	}
	lines := strings.Split(strings.TrimSuffix(r.stderr, "\n"), "\n")
	lines = slices.DeleteFunc(lines, faultRemark.MatchString)
	// Where standard error itself fails nothing can be said.
	mute := call == "write" && strings.HasPrefix(hit, "2<")
	if !mute && (len(lines) != 1 || !strings.HasPrefix(lines[0], "overlaydiff: ")) {
		complain("it says %d lines, not one", len(lines))
	}
	switch {
	case !c.streams && !toStdout(call, hit) && r.stdout != "" && c.answer == nil:
		complain("it failed, and has an answer")
	case c.streams && !isPartOf(r.stdout, want.stdout):
		complain("what it said until it failed is no part of the answer")
	case c.streams && r.stdout == want.stdout && c.args[1] == "export":
		complain("the archive is whole, and it failed")
	}
	return complaints
}

func emptyDir(path string) bool {
	entries, err := os.ReadDir(path)
	return err == nil && len(entries) == 0
}

func toStdout(call, hit string) bool { return call == "write" && strings.HasPrefix(hit, "1<") }

// faultRemark is a line that may be there beside the error: of the answer that there
// would have been.
var faultRemark = regexp.MustCompile(`^overlaydiff: ((naive|native) engine: |1 thing can't be said )`)

// saysWhatIsLeft reports whether an error is about that.
func saysWhatIsLeft(stderr string) bool {
	return strings.Contains(stderr, "remove the scratch directory") || strings.Contains(stderr, "is left")
}

// log has how many faults each command got.
func (f *faults) log() {
	for i, c := range f.commands {
		points := 0
		for call, n := range f.calls[i] {
			points += n * len(errorsOf(call))
		}
		f.t.Logf("%-26s %5d points, %5d faults injected", c.name, points, f.perCommand[i])
	}
}
