package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/overlaydiff/overlaydiff/features"
)

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
