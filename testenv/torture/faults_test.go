package torture_test

import (
	"encoding/json"
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

	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
	"github.com/overlaydiff/overlaydiff/testenv/torture"
)

// faultyCommand is a command whose system calls are made to fail.
type faultyCommand struct {
	name string
	args []string
	// made is what it makes in the working directory, "" nothing. After a failure it is
	// not there; after inPlace's it is made right by another run.
	made    string
	inPlace string // lines of a tree that is there before
	// streams: what it says until a failure is a part of the answer, not none.
	streams bool
	layers  bool // made is a layer directory
	// answer returns what is wrong with another answer than the undisturbed one, of
	// exit status 0. nil: anything is.
	answer func(want, got *ran) error
}

// faultyCommands returns the commands.
func (s *scene) faultyCommands() []faultyCommand {
	with := func(words ...string) []string { return append(words, s.flags...) }
	return []faultyCommand{
		{name: "changes", args: with("changes"), streams: true},
		{name: "changes naive", args: with("changes", "--engine", "naive", "--json"), streams: true},
		{name: "changes of a mount", args: []string{"changes", "--json", s.live}, streams: true},
		{name: "changes naive of a mount", args: []string{"changes", "--engine", "naive", s.live}, streams: true},
		{name: "size", args: []string{"size", "--json", s.live}, answer: sameSize},
		{name: "usage", args: with("usage", "--json")},
		{name: "usage of a mount", args: []string{"usage", s.live}},
		{name: "explain", args: with("explain")},
		{name: "explain naive", args: []string{"explain", "--json", "--engine", "naive", s.live, "/meta"}},
		{name: "layers", args: with("layers")},
		{name: "export", args: with("export"), streams: true},
		{name: "export to a file", args: []string{"export", "-o", "layer", "--compression", "zstd", s.live}, made: "layer"},
		{name: "apply", args: []string{"apply", "--to", "tree", s.gzip}, made: "tree"},
		{name: "apply in place", args: []string{"apply", "--to", "tree", s.layer}, made: "tree", inPlace: "file gone/x\nfile d/sub/x\nfile keep content=k\nfile again/c"},
		{name: "apply as overlay", args: []string{"apply", "--as", "overlay", "--to", "tree", s.layer}, made: "tree", layers: true},
		{name: "verify", args: []string{"verify", s.live}},
		{name: "verify a layer", args: with("verify", "--layer", s.layer)},
		{name: "ps", args: []string{"ps", "--json", "--root", s.node}, answer: s.sameContainers},
		{name: "probe", args: []string{"probe", "--json", "."}, answer: sameProbe},
		{name: "demo", args: []string{"demo", "--lower", s.lower}, answer: agrees},
	}
}

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
	run.Count("faults injected", f.tried-f.missed)
	run.Note("Of %d pairs of a call and an error in %d commands, %d were tried; the commands absorbed %d faults with the right answer and said %d times why there is none.",
		len(points), len(f.commands), f.tried, f.absorbed, f.told)
	if f.left > 0 {
		run.Note("%d faults were in the removal of what a command had made: it named that, and its next run removed it.", f.left)
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
	t        *testing.T
	scene    *scene
	commands []faultyCommand
	calls    []map[string]int // of each command
	want     []*ran           // of each command, undisturbed
	results  []string         // of each command, where its undisturbed result is kept

	tried, missed, absorbed, told, left int
	perCommand                          []int
}

func newFaults(t *testing.T, s *scene) *faults {
	f := &faults{t: t, scene: s, commands: s.faultyCommands()}
	f.perCommand = make([]int, len(f.commands))
	for i := range f.commands {
		c := &f.commands[i]
		if c.args[0] == "explain" && len(c.args) > 3 && c.args[1] == "--lower" {
			c.args = append(c.args, "/fresh/sub/three")
		}
		c.args = append([]string{s.command}, c.args...)
		f.prepare(c)
		calls := s.calls(t, c.args...)
		f.prepare(c)
		// Below the injector as well, since a command may tell of its filter.
		f.want = append(f.want, s.run(t, nil, append(s.injected(noFault), c.args...)...))
		if r := f.want[i]; r.status != 0 {
			t.Fatalf("%s: exit status %d: %s", c.name, r.status, r.stderr)
		}
		if left := s.left(c.made); len(left) > 0 {
			t.Fatalf("%s, undisturbed, leaves %q", c.name, left)
		}
		keep := ""
		if c.made != "" {
			keep = filepath.Join(s.dir, fmt.Sprint("result", i))
			if err := os.Rename(filepath.Join(s.work, c.made), keep); err != nil {
				t.Fatal(err)
			}
		}
		f.calls, f.results = append(f.calls, calls), append(f.results, keep)
	}
	return f
}

// prepare empties the room and makes what is to be there before.
func (f *faults) prepare(c *faultyCommand) {
	f.t.Helper()
	f.scene.empty(f.t)
	if c.inPlace != "" {
		testenv.Tree(f.t, filepath.Join(f.scene.work, c.made), c.inPlace)
	}
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
	if hit == "" {
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
	if r.hung {
		complain("it hung")
	}
	if r.orphans {
		complain("processes are left")
	}
	fatal := runtimeCall(p.call, hit) && strings.Contains(r.stderr, "fatal error: ")
	made := c.made
	switch {
	case fatal:
	case strings.Contains(r.stderr, "goroutine "):
		complain("it crashed")
	case r.status == 0:
		f.absorbed++
		if err := f.checkAnswer(c, p.command, r); err != nil {
			complain("exit status 0, and %v", err)
		}
	default:
		f.told++
		complaints = append(complaints, checkFailure(c, f.want[p.command], r, p.call, hit)...)
		switch {
		case c.made == "" || c.inPlace != "":
		case !toStdout(p.call, hit):
			made = ""
		default: // it was done, and only could not be told
			if err := f.checkResult(c, p.command); err != nil {
				complain("it could not write the answer, and %v", err)
			}
		}
	}
	left := f.scene.left(made)
	if len(left) > 0 {
		f.left++
		if !fatal && (r.status == 0 || !saysWhatIsLeft(r.stderr)) {
			complain("it left %q and did not say so", left)
		}
	}
	if len(left) > 0 || r.status != 0 && c.inPlace != "" {
		complaints = append(complaints, f.again(c, p.command)...)
	}
	return complaints
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
	case c.streams && !strings.HasPrefix(want.stdout, r.stdout):
		complain("what it said until it failed is no part of the answer")
	case c.streams && r.stdout == want.stdout && c.args[1] == "export":
		complain("the archive is whole, and it failed")
	}
	return complaints
}

func toStdout(call, hit string) bool { return call == "write" && strings.HasPrefix(hit, "1<") }

// faultRemark is a line that may be there beside the error.
var faultRemark = regexp.MustCompile(`^overlaydiff: (naive|native) engine: `)

// saysWhatIsLeft reports whether an error is about that.
func saysWhatIsLeft(stderr string) bool {
	return strings.Contains(stderr, "remove the scratch directory") || strings.Contains(stderr, "is left")
}

// checkAnswer returns an error if a fault changed the answer.
func (f *faults) checkAnswer(c *faultyCommand, i int, r *ran) error {
	want := f.want[i]
	switch {
	case c.answer != nil:
		if err := c.answer(want, r); err != nil {
			return err
		}
	case r.stdout != want.stdout:
		return fmt.Errorf("the answer is another: %s", firstDifference(want.stdout, r.stdout))
	}
	return f.checkResult(c, i)
}

// checkResult returns an error if what a command made is not what it makes undisturbed.
func (f *faults) checkResult(c *faultyCommand, i int) error {
	if c.made == "" {
		return nil
	}
	if c.layers {
		return f.sameView(f.results[i], filepath.Join(f.scene.work, c.made))
	}
	return sameResult(f.results[i], filepath.Join(f.scene.work, c.made))
}

// sameView compares what two layer directories show over the lower layers: a whiteout
// can be made in several ways, and has the time when it was made.
func (f *faults) sameView(want, got string) error {
	var views []string
	for _, dir := range []string{want, got} {
		view := testenv.Mount(f.t, testenv.Overlay{Lower: append([]string{dir}, f.scene.lowers...)})
		defer testenv.Unmount(f.t, view)
		views = append(views, view)
	}
	return sameResult(views[0], views[1])
}

// sameResult compares files, or trees.
func sameResult(want, got string) error {
	info, err := os.Stat(want)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		a, err := os.ReadFile(want)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(got)
		if err == nil && string(a) != string(b) {
			err = fmt.Errorf("the file is another")
		}
		return err
	}
	changes, err := refdiff.Diff(want, got)
	if err == nil && len(changes) > 0 {
		err = fmt.Errorf("the tree is another: %v", changes)
	}
	return err
}

// again runs a command that failed once more, undisturbed: it does what it should,
// and takes away what was left.
func (f *faults) again(c *faultyCommand, i int) (complaints []string) {
	if c.inPlace == "" && c.made != "" {
		f.scene.remove(f.t, c.made)
	}
	r := f.scene.run(f.t, nil, append(f.scene.injected(noFault), c.args...)...)
	if r.status != 0 {
		return []string{fmt.Sprintf("the next run fails, too: %s", r.stderr)}
	}
	if err := f.checkAnswer(c, i, r); err != nil {
		complaints = append(complaints, fmt.Sprintf("in the next run %v", err))
	}
	if left := f.scene.left(c.made); len(left) > 0 {
		complaints = append(complaints, fmt.Sprintf("the next run leaves %q", left))
	}
	return complaints
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

// sameSize is sameness of size --json, whichever engine answers.
func sameSize(want, got *ran) error {
	var a, b struct{ Bytes, Raced int64 }
	if err := json.Unmarshal([]byte(want.stdout), &a); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(got.stdout), &b); err != nil {
		return err
	}
	if a != b {
		return fmt.Errorf("the size is %d, not %d", b, a)
	}
	return nil
}

// sameContainers is sameness of ps --json: what could not be looked at is named, in
// its line or on standard error. Overlays that others have mounted are left out.
func (s *scene) sameContainers(want, got *ran) error {
	lines := func(r *ran) map[string]string {
		found := map[string]string{}
		for line := range strings.Lines(r.stdout) {
			var c struct{ ID, Upper string }
			if err := json.Unmarshal([]byte(line), &c); err == nil && strings.Contains(line, s.dir) {
				found[c.ID+c.Upper] = line
			}
		}
		return found
	}
	a, b := lines(want), lines(got)
	for key, line := range a {
		switch now, ok := b[key]; {
		case !ok && got.stderr == "":
			return fmt.Errorf("a container is missing without a word")
		case ok && now != line && !strings.Contains(now, `"error":"`):
			return fmt.Errorf("a container is another: %s", now)
		}
	}
	return nil
}

// sameProbe is sameness of probe --json: a fault makes answers unknown, and never
// a no or a yes.
func sameProbe(want, got *ran) error {
	type report struct {
		Native struct {
			OK    bool
			Error string
		} `json:"native_diff"`
		Features []struct{ Name, Answer, Reason string }
	}
	var a, b report
	if err := json.Unmarshal([]byte(want.stdout), &a); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(got.stdout), &b); err != nil {
		return err
	}
	if len(a.Features) != len(b.Features) {
		return fmt.Errorf("there are %d answers, not %d", len(b.Features), len(a.Features))
	}
	for i, is := range b.Features {
		was := a.Features[i]
		// mknod of a device in a user namespace is what the kernel refuses with EPERM.
		refused := is.Name == "userns_whiteout" && strings.Contains(is.Reason, "operation not permitted")
		if is.Name != was.Name || is.Answer != was.Answer && (is.Answer != "unknown" || is.Reason == "") && !refused {
			return fmt.Errorf("%s is %s (%s), it was %s", is.Name, is.Answer, is.Reason, was.Answer)
		}
	}
	if a.Native.OK != b.Native.OK && b.Native.Error == "" {
		return fmt.Errorf("native diff is %v", b.Native.OK)
	}
	return nil
}

// agrees is all that every demo says: it changes what it can read.
func agrees(_, got *ran) error {
	if !strings.HasSuffix(got.stdout, "\nBoth engines agree.\n") {
		return fmt.Errorf("the engines were not said to agree")
	}
	return nil
}
