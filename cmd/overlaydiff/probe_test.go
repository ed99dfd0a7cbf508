package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// probeField is one field of the JSON. The document has them from here, and
// every JSON that a test sees is held to them.
type probeField struct {
	path, json string // its place, "[]" for each element; its JSON type
	maybe      bool   // it can be missing
	says       string
}

var probeFields = []probeField{
	{"kernel", "string", false, "the release, as `uname -r` has it; for messages"},
	{"directory", "string", false, "as it was named"},
	{"file_system", "string", false, "its type: `ext4`; `type 0x…` if it has no name here"},
	{"uid", "number", false, "the effective user id"},
	{"initial_user_namespace", "boolean", false, "whether the process is in the initial user namespace"},
	{"trusted_xattrs", "boolean", false, "whether `trusted.*` attributes can be read, which takes `CAP_SYS_ADMIN` in the initial user namespace"},
	{"native_diff", "object", false, "whether upper directories there can be read, instead of comparing whole trees"},
	{"native_diff.ok", "boolean", false, "true: the native engine answers, and rightly. False if it does not, and if it can't be told"},
	{"native_diff.error", "string", true, "why it can't be told. Only then is it there"},
	{"native_diff.reasons", "array", false, "what is special about overlays there; may be empty"},
	{"native_diff.reasons[].code", "string", false, "which, see above"},
	{"native_diff.reasons[].blocks", "boolean", false, "whether the native engine can't answer because of it"},
	{"native_diff.reasons[].text", "string", false, "in words; they may change"},
	{"native_diff.compat", "array", false, "what other tools' own tests decide, by the same means"},
	{"native_diff.compat[].tool", "string", false, "`moby` or `containers/storage`"},
	{"native_diff.compat[].native", "boolean", false, "whether that tool reads upper directories there"},
	{"native_diff.compat[].reason", "string", true, "why not"},
	{"features", "array", false, "one object for each question below, in this order"},
	{"features[].name", "string", false, "the question; a name never changes its meaning"},
	{"features[].group", "string", false, "the heading that it is under"},
	{"features[].answer", "string", false, "`yes`, `no` or `unknown`"},
	{"features[].asks", "string", false, "what is true if the answer is yes"},
	{"features[].reason", "string", true, "what the kernel said. With yes, a detail if there is one; else it is always there"},
	{"features[].follows", "string", true, "what a no means for those who use overlays. Only with no, and not with `lacks`"},
	{"features[].lacks", "string", true, "the question whose answer is the reason that this one has the same"},
	{"features[].since", "string", true, "the Linux release that brought it; for messages, no answer comes from it"},
}

// checkProbeJSON returns what is wrong with one line of JSON.
func checkProbeJSON(line string) error {
	var object map[string]any
	if err := json.Unmarshal([]byte(line), &object); err != nil {
		return err
	}
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		return errors.New("not one line")
	}
	var errs []error
	errs = append(errs, checkFields("", object)...)
	r, err := reportOf(line)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, checkReport(r))...)
}

func reportOf(line string) (r probeReport, err error) {
	err = json.Unmarshal([]byte(line), &r)
	return r, err
}

// checkFields holds the fields of an object, which is at path, and those of the
// objects in it to the list.
func checkFields(path string, object map[string]any) (errs []error) {
	known := map[string]bool{}
	for _, f := range probeFields {
		name, ok := strings.CutPrefix(f.path, path)
		if !ok || strings.ContainsAny(name, ".[") {
			continue
		}
		known[name] = true
		value, is := object[name]
		if !is {
			if !f.maybe {
				errs = append(errs, fmt.Errorf("%s is missing", f.path))
			}
			continue
		}
		if got := jsonType(value); got != f.json {
			errs = append(errs, fmt.Errorf("%s is a JSON %s, not %s", f.path, got, f.json))
		}
		switch v := value.(type) {
		case map[string]any:
			errs = append(errs, checkFields(f.path+".", v)...)
		case []any:
			for _, element := range v {
				if o, ok := element.(map[string]any); ok {
					errs = append(errs, checkFields(f.path+"[].", o)...)
				} else {
					errs = append(errs, fmt.Errorf("%s has something else than objects", f.path))
				}
			}
		case string:
			if f.maybe && v == "" {
				errs = append(errs, fmt.Errorf("%s is there, but empty", f.path))
			}
		}
	}
	for name := range object {
		if !known[name] {
			errs = append(errs, fmt.Errorf("%s%s is not documented", path, name))
		}
	}
	return errs
}

func jsonType(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}

// checkReport holds what is in the fields to what the document says of them.
func checkReport(r probeReport) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	answers := map[string]features.Answer{}
	var names []string
	for _, f := range r.Features {
		names = append(names, f.Name)
		answers[f.Name] = f.Answer
	}
	if d := cmp.Diff(features.Names(), names); d != "" {
		bad("the questions (-Names +JSON):\n%s", d)
	}
	for _, f := range r.Features {
		about, _ := features.Explain(f.Name)
		if f.Group != about.Group || f.Asks != about.Asks || f.Since != about.Since || f.Asks == "" {
			bad("%s: group, asks or since is not what Explain has: %+v", f.Name, f)
		}
		if f.Answer != features.Yes && f.Reason == "" {
			bad("%s is %s without a reason", f.Name, f.Answer)
		}
		if strings.ContainsFunc(f.Reason, func(r rune) bool { return r < ' ' }) || strings.Contains(f.Reason, "/proc/self/fd/") {
			bad("%s has a reason that is not for people: %q", f.Name, f.Reason)
		}
		if want := f.Answer == features.No && f.Lacks == ""; (f.Follows != "") != want {
			bad("%s is %s for lack of %q, but what follows is %q", f.Name, f.Answer, f.Lacks, f.Follows)
		}
		if f.Follows != "" && f.Follows != about.Follows {
			bad("%s: what follows is not what Explain has: %q", f.Name, f.Follows)
		}
		if f.Lacks != "" && (f.Lacks == f.Name || answers[f.Lacks] != f.Answer || f.Answer == features.Yes) {
			bad("%s is %s for lack of %s, which is %s", f.Name, f.Answer, f.Lacks, answers[f.Lacks])
		}
	}
	return errors.Join(append(errs, checkNative(r.Native))...)
}

func checkNative(n nativeReport) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	ok := n.Error == ""
	for _, reason := range n.Reasons {
		ok = ok && !reason.Blocks
		if !slices.ContainsFunc(probeCodes, func(c probeCode) bool { return c.code == reason.Code }) {
			bad("code %q is not documented", reason.Code)
		}
		if reason.Text == "" {
			bad("code %q comes without text", reason.Code)
		}
	}
	if n.OK != ok {
		bad("native_diff.ok is %t: %+v", n.OK, n)
	}
	var tools []string
	for _, v := range n.Compat {
		tools = append(tools, v.Tool)
		if v.Native != (v.Reason == "") {
			bad("%s: native %t, reason %q", v.Tool, v.Native, v.Reason)
		}
	}
	if !slices.Equal(tools, []string{"moby", "containers/storage"}) {
		bad("compat has %q", tools)
	}
	return errors.Join(errs...)
}

// The commands of scripts that are about probe.

// cmdProbed checks the JSON on stdout.
func cmdProbed(ts *testscript.TestScript, _ []string) {
	if err := checkProbeJSON(ts.ReadFile("stdout")); err != nil {
		ts.Fatalf("%v", err)
	}
}

func probedReport(ts *testscript.TestScript) probeReport {
	r, err := reportOf(ts.ReadFile("stdout"))
	ts.Check(err)
	return r
}

func resultOf(r probeReport, name string) (features.Result, error) {
	i := slices.IndexFunc(r.Features, func(f features.Result) bool { return f.Name == name })
	if i < 0 {
		return features.Result{}, fmt.Errorf("no answer %s", name)
	}
	return r.Features[i], nil
}

// cmdAnswers checks answers: answers yes NAME…
func cmdAnswers(ts *testscript.TestScript, args []string) {
	r := probedReport(ts)
	for _, name := range args[1:] {
		f, err := resultOf(r, name)
		ts.Check(err)
		if f.Answer.String() != args[0] {
			ts.Fatalf("%s is %s, want %s: %s", name, f.Answer, args[0], f.Reason)
		}
	}
}

// cmdBecause checks a reason: because NAME REGEXP.
func cmdBecause(ts *testscript.TestScript, args []string) {
	f, err := resultOf(probedReport(ts), args[0])
	ts.Check(err)
	if !regexp.MustCompile(args[1]).MatchString(f.Reason) {
		ts.Fatalf("%s is %s because %q, which does not match %s", f.Name, f.Answer, f.Reason, args[1])
	}
}

// cmdNative checks the verdict and the codes of all reasons: native yes CODE…
func cmdNative(ts *testscript.TestScript, args []string) {
	n := probedReport(ts).Native
	got := []string{"no"}
	switch {
	case n.Error != "":
		got[0] = "unknown"
	case n.OK:
		got[0] = "yes"
	}
	for _, r := range n.Reasons {
		got = append(got, string(r.Code))
	}
	if !slices.Equal(got, args) {
		ts.Fatalf("native diff: %q, want %q: %+v", got, args, n)
	}
}

// cmdPeer checks what another tool decides: peer TOOL native, or peer TOOL REGEXP
// with why not.
func cmdPeer(ts *testscript.TestScript, args []string) {
	for _, v := range probedReport(ts).Native.Compat {
		switch {
		case v.Tool != args[0]:
		case v.Native && args[1] == "native", !v.Native && regexp.MustCompile(args[1]).MatchString(v.Reason):
			return
		default:
			ts.Fatalf("%s: native %t, %q; want %s", v.Tool, v.Native, v.Reason, args[1])
		}
	}
	ts.Fatalf("no tool %s", args[0])
}

// cmdProbeText checks the text on stdout: its width, its columns, that each
// answer is there, once, under its group.
func cmdProbeText(ts *testscript.TestScript, _ []string) {
	if err := checkProbeText(ts.ReadFile("stdout"), 100); err != nil {
		ts.Fatalf("%v", err)
	}
}

var (
	answerLine = regexp.MustCompile(`^  (?:yes|no |\?  ) ([a-z0-9_]+) {2,}\S`)
	lackLine   = regexp.MustCompile(`^  (?:no |\?  ) for lack of ([a-z0-9_]+): (.*)$`)
)

func checkProbeText(text string, width int) error {
	const column = 32
	var errs []error
	under := map[string]string{} // the group of each answer
	group, listing := "", false
	// What is before the first group has its own form.
	_, rest, ok := strings.Cut(text, "\n\noverlay\n")
	if !ok || !strings.Contains(text, "\nnative diff: ") {
		return errors.New("no native diff, or no group overlay")
	}
	found := func(name string) {
		if under[name] != "" {
			errs = append(errs, fmt.Errorf("%s is there twice", name))
		}
		under[name] = group
	}
	for line := range strings.Lines("overlay\n" + rest) {
		line = strings.TrimSuffix(line, "\n")
		answer, lack := answerLine.FindStringSubmatch(line), lackLine.FindStringSubmatch(line)
		switch indent := len(line) - len(strings.TrimLeft(line, " ")); {
		case line == "":
			listing = false
		case indent == 0:
			group = line
		case lack != nil:
			listing = true
			line = lack[2]
		case answer != nil:
			found(answer[1])
			if line[column-1] != ' ' || line[column] == ' ' {
				errs = append(errs, fmt.Errorf("what it asks is not in column %d: %s", column, line))
			}
		case listing && indent == 6:
		case indent != column && indent != column+3:
			errs = append(errs, fmt.Errorf("indented by %d: %s", indent, line))
		}
		if listing {
			for name := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == ' ' || r == ',' }) {
				found(name)
			}
		}
	}
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width || strings.HasSuffix(line, " \n") {
			errs = append(errs, fmt.Errorf("%d columns, or a blank at the end: %s", n, line))
		}
	}
	want := map[string]string{}
	for _, name := range features.Names() {
		about, _ := features.Explain(name)
		want[name] = about.Group
	}
	if d := cmp.Diff(want, under); d != "" {
		errs = append(errs, fmt.Errorf("answers and their groups (-catalogue +text):\n%s", d))
	}
	return errors.Join(errs...)
}

// cmdExplainsAll checks that the names on stdout are those of all questions.
func cmdExplainsAll(ts *testscript.TestScript, _ []string) {
	var got []string
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if name, _, ok := strings.Cut(line, " ("); ok && name != "" && name[0] != ' ' {
			got = append(got, name)
		}
	}
	if d := cmp.Diff(features.Names(), got); d != "" {
		ts.Fatalf("(-Names +explained):\n%s", d)
	}
}

// cmdEmpty checks that nothing is in directories.
func cmdEmpty(ts *testscript.TestScript, args []string) {
	for _, dir := range args {
		if left := list(ts.MkAbs(dir)); len(left) > 0 {
			ts.Fatalf("in %s: %q", dir, left)
		}
	}
}

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

// cmdTmpfs mounts a tmpfs until the end of the script: tmpfs DIR [OPTIONS].
func cmdTmpfs(ts *testscript.TestScript, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(syscall.Mount("overlaydiff", dir, "tmpfs", syscall.MS_NODEV, strings.Join(args[1:], ",")))
	scriptOf(ts).until(ts, dir)
}

// cmdReadOnly makes a directory read-only until the end of the script.
func cmdReadOnly(ts *testscript.TestScript, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(syscall.Mount(dir, dir, "", syscall.MS_BIND, ""))
	scriptOf(ts).until(ts, dir)
	ts.Check(syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
}

// cmdFill fills the file system of a directory to the last byte and inode.
func cmdFill(ts *testscript.TestScript, args []string) { ts.Check(fill(ts.MkAbs(args[0]))) }

func fill(dir string) error {
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, zeros{})
	if err := errors.Join(f.Close(), unlessFull(err)); err != nil {
		return err
	}
	for i := 0; ; i++ {
		f, err := os.Create(filepath.Join(dir, "filler-"+strconv.Itoa(i)))
		if err != nil {
			return unlessFull(err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
}

func unlessFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

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

// TestProbe_FileSystems has what is known of the file systems themselves.
func TestProbe_FileSystems(t *testing.T) {
	always := []string{"d_type", "trusted_xattrs", "whiteout_device", "whiteout_xattr", "rename_exchange", "file_handles"}
	shares := map[testenv.FS]bool{testenv.XFS: true, testenv.Btrfs: true}
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		r, err := reportOf(probeOnce(t, t.Name(), testenv.Scratch(t, fs)))
		check(t, err)
		if r.FileSystem != string(fs) {
			t.Errorf("the file system is %s", r.FileSystem)
		}
		want := map[string]features.Answer{"project_quota": features.No, "reflink": features.No}
		if told, err := since("5.14"); err != nil || !told { // quotactl_fd
			check(t, err)
			want["project_quota"] = features.Unknown
		}
		for _, name := range always {
			want[name] = features.Yes
		}
		if shares[fs] {
			want["reflink"] = features.Yes
		}
		for name, answer := range want {
			f, err := resultOf(r, name)
			check(t, err)
			if f.Answer != answer {
				t.Errorf("%s is %s, want %s: %s", name, f.Answer, answer, f.Reason)
			}
		}
	})
}

// TestProbeReport_Text is the text of a report that has everything.
func TestProbeReport_Text(t *testing.T) {
	r := probeReport{
		Site: features.Site{Kernel: "6.1.0", Directory: "/var/lib\n", FileSystem: "ext4", InitialUserns: true},
		Native: nativeReport{Native: features.Native{
			Reasons: []features.Reason{{Code: features.CodeCasefold, Blocks: true, Text: "the directory ignores case"}},
			Compat:  []features.Verdict{{Tool: "moby", Reason: "why\nnot"}, {Tool: "containers/storage", Native: true}},
		}},
		Features: []features.Result{
			{Name: "first", Group: "one", Answer: features.Yes, Asks: "a thing", Reason: "501, too"},
			{Name: "second", Group: "one", Answer: features.No, Asks: "another", Reason: "it is refused", Follows: "copies " + strings.Repeat("and copies ", 8)},
			{Name: "third", Group: "one", Answer: features.No, Asks: "it, too", Reason: "it is refused", Follows: "more copies"},
			{Name: "fourth", Group: "one", Answer: features.No, Asks: "on top", Reason: "it takes second", Lacks: "second"},
			{Name: "fifth", Group: "two", Answer: features.Unknown, Asks: "what", Reason: "permission is denied"},
			{Name: "sixth", Group: "two", Answer: features.No, Asks: "on top", Reason: "it takes second", Lacks: "second"},
		},
	}
	const want = `"/var/lib\n" on ext4, Linux 6.1.0, root without CAP_SYS_ADMIN

native diff: no
  casefold: the directory ignores case
  moby: naive, why; not
  containers/storage: native

one
  yes first                     a thing: 501, too
  no  second                    another
                                it is refused
                                -> copies and copies and copies and copies and copies and copies and
                                   copies and copies and copies
  no  third                     it, too
                                for the same reason
                                -> more copies
  no  for lack of second: fourth

two
  ?   fifth                     what
                                permission is denied
  no  for lack of second: sixth
`
	var out strings.Builder
	check(t, r.print(&out))
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

type probeCode struct {
	code features.Code
	says string
}

var probeCodes = []probeCode{
	{features.CodeRedirectDir, "renamed directories are redirected. Native follows; other tools give up"},
	{features.CodeMetacopy, "files can be copied up without their data. Native finds the data"},
	{features.CodeIndex, "hard links are kept together by the index. Native needs the work directory for that"},
	{features.CodeUserNamespace, "the process is in a user namespace. Native reads the marks that the options name"},
	{features.CodeOpaqueBug, "copy-up takes opaque marks along, so that upper directories hide what nobody deleted (before Linux 4.8)"},
	{features.CodeUnreadable, "marks are in `trusted.*`, which the process can't read, and reading without them is wrong"},
	{features.CodeUnknownOption, "`--options` has one that is not known; it may change what layers mean"},
	{features.CodeCasefold, "the directory ignores case"},
	{features.CodeNoOverlay, "no overlay can be mounted there, at all or with these options"},
}
