package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// commands are what scripts have beside testscript's own commands.
//
//	overlaydiff ARG…        must succeed
//	both ARG…               overlaydiff with each engine: the output must be the same
//	status N CMD…           must end with this exit status
//	fails N REGEXP CMD…     … with one line on stderr that matches, and nothing on stdout
//	tree DIR FILE           make what the lines of FILE say, see testenv.Tree
//	do DIR FILE             do what the lines of FILE say, see testenv.Do
//	bigtree DIR N           N files with long names, 100 a directory
//	slowfile DIR            a file that takes the naive engine seconds
//	overlay LOWER UPPER WORK MERGED [OPTIONS]    until the end of the script
//	chrooted VAR DIR        start a process whose root is DIR; VAR is its id
//	jsonl changes|size|usage    each line of stdout has the normative fields, and no others
//	dulike DIR              the usage on stdout is what du says of DIR
//	columns N               no line of stdout is longer
//	tmpfs DIR [OPTIONS]     a file system of its own, until the end of the script
//	readonly DIR            nothing can be written there any more
//	fill DIR                no byte and no inode is free on its file system
//	empty DIR…              nothing is in there
//	probed                  stdout is the JSON of probe, as docs/probe.md has it
//	answers ANSWER NAME…    it has these answers
//	because NAME REGEXP     … with this reason
//	native ANSWER CODE…     it has this verdict, with these reasons and no others
//	peer TOOL native|REGEXP it has this verdict of another tool
//	probetext               stdout is the text of probe: aligned, all answers
//	explainsall             stdout has every question
//	midway SIGNAL N WHEN CMD…   see midway
//	clean                   nothing is left: mounts, temporary files, processes
//
// [userns] is whether user nobody can have a user namespace, [has:NAME] what
// features answers on the script's file system, as root, [linux:5.14] whether
// the kernel is of that release or newer. The program asnobody
// runs a command as that user.
var commands map[string]func(ts *testscript.TestScript, neg bool, args []string)

func init() { // not an initializer: some commands call others
	commands = map[string]func(*testscript.TestScript, bool, []string){}
	for name, c := range map[string]struct {
		least int
		run   func(ts *testscript.TestScript, args []string)
	}{
		"overlaydiff": {0, func(ts *testscript.TestScript, args []string) { runStatus(ts, 0, "overlaydiff", args...) }},
		"both":        {1, cmdBoth},
		"status": {2, func(ts *testscript.TestScript, args []string) {
			runStatus(ts, number(ts, args[0]), args[1], args[2:]...)
		}},
		"fails":       {3, cmdFails},
		"tree":        {2, cmdTree},
		"do":          {2, cmdDo},
		"bigtree":     {2, cmdBigTree},
		"slowfile":    {1, cmdSlowFile},
		"overlay":     {4, cmdOverlay},
		"chrooted":    {2, cmdChrooted},
		"jsonl":       {1, cmdJSONL},
		"dulike":      {1, cmdDuLike},
		"columns":     {1, cmdColumns},
		"midway":      {4, cmdMidway},
		"tmpfs":       {1, cmdTmpfs},
		"readonly":    {1, cmdReadOnly},
		"fill":        {1, cmdFill},
		"empty":       {1, cmdEmpty},
		"probed":      {0, cmdProbed},
		"answers":     {2, cmdAnswers},
		"because":     {2, cmdBecause},
		"native":      {1, cmdNative},
		"peer":        {2, cmdPeer},
		"explainsall": {0, cmdExplainsAll},
		"probetext":   {0, cmdProbeText},
		"clean":       {0, func(ts *testscript.TestScript, _ []string) { ts.Check(scriptOf(ts).clean()) }},
	} {
		commands[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) < c.least {
				ts.Fatalf("%s: no !, and %d arguments at least", name, c.least)
			}
			c.run(ts, args)
		}
	}
}

// script is what one script has.
type script struct {
	work    string
	temps   []string // directories for temporary files
	mounts  []string // made by the script's commands
	holding []int    // processes started by the command chrooted
}

const scriptKey = "script"

func scriptOf(ts *testscript.TestScript) *script { return ts.Value(scriptKey).(*script) }

// clean returns an error that names what overlaydiff left behind. A killed
// process gets a moment to end.
func (s *script) clean() error {
	var errs []error
	for wait := time.Millisecond; ; wait *= 2 {
		left := s.processes()
		if len(left) == 0 {
			break
		}
		if wait > time.Second {
			errs = append(errs, fmt.Errorf("processes %q", left))
			break
		}
		time.Sleep(wait)
	}
	for _, point := range mountsBelow(s.work) {
		if !slices.Contains(s.mounts, point) {
			errs = append(errs, fmt.Errorf("mount %s", point))
		}
	}
	for _, dir := range s.temps {
		entries, err := os.ReadDir(dir)
		errs = append(errs, err)
		for _, e := range entries {
			errs = append(errs, fmt.Errorf("temporary file %s", filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// processes returns the command lines of the script's processes: those that
// have its environment.
func (s *script) processes() (left []string) {
	names, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range names {
		env, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(env), "WORK="+s.work+"\x00") {
			continue
		}
		dir := filepath.Dir(name)
		if pid, _ := strconv.Atoi(filepath.Base(dir)); slices.Contains(s.holding, pid) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		left = append(left, strings.ReplaceAll(string(line), "\x00", " "))
	}
	return left
}

func number(ts *testscript.TestScript, s string) int {
	n, err := strconv.Atoi(s)
	ts.Check(err)
	return n
}

func runStatus(ts *testscript.TestScript, want int, name string, args ...string) {
	err := ts.Exec(name, args...)
	checkStatus(ts, want, err)
}

func checkStatus(ts *testscript.TestScript, want int, err error) {
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func cmdBoth(ts *testscript.TestScript, args []string) {
	var out [2]string
	for i, engine := range []string{"native", "naive"} {
		runStatus(ts, 0, "overlaydiff", append(slices.Clone(args), "--engine", engine)...)
		out[i] = ts.ReadFile("stdout")
	}
	if out[0] != out[1] {
		ts.Fatalf("native says\n%s\nnaive says\n%s", out[0], out[1])
	}
}

func cmdFails(ts *testscript.TestScript, args []string) {
	runStatus(ts, number(ts, args[0]), args[2], args[3:]...)
	line := ts.ReadFile("stderr")
	want, err := regexp.Compile(args[1])
	ts.Check(err)
	switch {
	case ts.ReadFile("stdout") != "":
		ts.Fatalf("something on stdout")
	case strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n"):
		ts.Fatalf("%d lines on stderr, want one", strings.Count(line, "\n"))
	case !strings.HasPrefix(line, "overlaydiff: "):
		ts.Fatalf("stderr does not begin with overlaydiff:")
	case strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) < len(line)-1:
		ts.Fatalf("stderr has something that can't be printed: %q", line)
	case !want.MatchString(line):
		ts.Fatalf("stderr does not match %s", want)
	}
}

func cmdTree(ts *testscript.TestScript, args []string) {
	ts.Check(testenv.MakeTree(ts.MkAbs(args[0]), ts.ReadFile(args[1])))
}

func cmdDo(ts *testscript.TestScript, args []string) {
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		op, err := testenv.ParseOp(line)
		ts.Check(err)
		ts.Check(op.Apply(ts.MkAbs(args[0])))
	}
}

func cmdBigTree(ts *testscript.TestScript, args []string) {
	const long = "a-name-that-is-long-so-that-the-output-fills-a-pipe"
	root := ts.MkAbs(args[0])
	for i := range number(ts, args[1]) {
		dir := filepath.Join(root, fmt.Sprintf("d%04d", i/100))
		if i%100 == 0 {
			ts.Check(os.MkdirAll(dir, 0o755))
		}
		ts.Check(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%05d", long, i)), []byte("x"), 0o644))
	}
}

// cmdSlowFile makes a file of two names, which the naive engine never takes for
// unchanged without reading it, and of so many pieces that this takes time
// without taking space.
func cmdSlowFile(ts *testscript.TestScript, args []string) {
	dir := ts.MkAbs(args[0])
	f, err := os.Create(filepath.Join(dir, "slow"))
	ts.Check(err)
	defer f.Close()
	for i := range int64(1 << 15) {
		_, err := f.WriteAt([]byte("x"), i<<17)
		ts.Check(err)
	}
	ts.Check(os.Link(f.Name(), filepath.Join(dir, "slow-too")))
}

func cmdOverlay(ts *testscript.TestScript, args []string) {
	s := scriptOf(ts)
	lowers := strings.Split(args[0], ":")
	for i := range lowers {
		lowers[i] = ts.MkAbs(lowers[i])
	}
	upper, work, merged := ts.MkAbs(args[1]), ts.MkAbs(args[2]), ts.MkAbs(args[3])
	for _, dir := range []string{upper, work, merged} {
		ts.Check(os.MkdirAll(dir, 0o755))
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(lowers, ":"), upper, work)
	options = strings.Join(append([]string{options}, args[4:]...), ",")
	ts.Check(os.NewSyscallError("mount "+options, syscall.Mount("overlay", merged, "overlay", syscall.MS_NODEV, options)))
	s.until(ts, merged)
}

// until notes a mount, which the end of the script takes away.
func (s *script) until(ts *testscript.TestScript, point string) {
	s.mounts = append(s.mounts, point)
	ts.Defer(func() {
		if err := syscall.Unmount(point, 0); err != nil {
			ts.Logf("unmount %s: %v", point, errors.Join(err, syscall.Unmount(point, syscall.MNT_DETACH)))
		}
		s.mounts = slices.DeleteFunc(s.mounts, func(m string) bool { return m == point })
	})
}

func cmdChrooted(ts *testscript.TestScript, args []string) {
	cmd := exec.Command(strings.Split(ts.Getenv("PATH"), ":")[0]+"/hold", ts.MkAbs(args[1]))
	cmd.Env = []string{"GORACE=atexit_sleep_ms=0"}
	_, err := cmd.StdinPipe() // open as long as this process is
	ts.Check(err)
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		ts.Fatalf("hold says %q, %v", line, err)
	}
	s := scriptOf(ts)
	s.holding = append(s.holding, cmd.Process.Pid)
	ts.Setenv(args[0], strconv.Itoa(cmd.Process.Pid))
}

// fields are the normative ones, with the JSON types of their values.
var fields = map[string]map[string]string{
	"changes": {"kind": "string", "path": "string", "type": "string", "what": "[]interface {}", "size": "float64"},
	"size":    {"bytes": "float64", "engine": "string", "reason": "string", "raced": "float64", "unreadable": "float64"},
	"usage": {
		"bytes": "float64", "linked_bytes": "float64", "disk_bytes": "float64", "inodes": "float64",
		"whiteouts": "float64", "opaque_dirs": "float64", "raced": "float64",
	},
}

func cmdJSONL(ts *testscript.TestScript, args []string) {
	out := ts.ReadFile("stdout")
	if out == "" || !strings.HasSuffix(out, "\n") || args[0] != "changes" && strings.Count(out, "\n") != 1 {
		ts.Fatalf("not whole lines, or too many: %q", out)
	}
	for line := range strings.Lines(out) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("%s: %v", line, err)
		}
		if encoded, ok := object["path_bytes"].(string); ok {
			path, err := base64.StdEncoding.DecodeString(encoded)
			if err != nil || utf8.Valid(path) || strings.ToValidUTF8(string(path), "\uFFFD") == "" {
				ts.Fatalf("%s: path_bytes is %q, %v", line, path, err)
			}
			delete(object, "path_bytes")
		}
		types := map[string]string{}
		for name, value := range object {
			types[name] = fmt.Sprintf("%T", value)
		}
		if !maps.Equal(types, fields[args[0]]) {
			ts.Fatalf("%s has %v, want %v", line, types, fields[args[0]])
		}
	}
}

func cmdDuLike(ts *testscript.TestScript, args []string) {
	var usage struct {
		DiskBytes int `json:"disk_bytes"`
		Inodes    int
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &usage))
	du := func(flag string) int {
		ts.Check(ts.Exec("du", "-s", flag, args[0]))
		return number(ts, strings.Fields(ts.ReadFile("stdout"))[0])
	}
	if bytes, inodes := du("--block-size=1"), du("--inodes"); usage.DiskBytes != bytes || usage.Inodes != inodes {
		ts.Fatalf("usage %d bytes, %d inodes; du says %d and %d", usage.DiskBytes, usage.Inodes, bytes, inodes)
	}
}

func cmdColumns(ts *testscript.TestScript, args []string) {
	most := number(ts, args[0])
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > most {
			ts.Fatalf("%d columns, %d at most: %s", n, most, line)
		}
	}
}
