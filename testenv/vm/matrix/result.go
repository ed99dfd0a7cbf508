package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/vm"
)

// Result is what became of the tests on a kernel.
type Result struct {
	Arch     string // as Go names it
	Series   string // as it was asked for: "6.12", "latest"
	Kernel   string // name of the kernel in the cache
	Release  string // as uname has it
	Version  string
	Emulated bool
	Boot     float64 // seconds until init was ready
	Seconds  float64 // in all
	Broken   string  // why there is no verdict
	Part     bool    // some of the tests only
	Suites   []Suite
	Probes   map[string]json.RawMessage `json:",omitempty"`
}

// notRun is the exit status of a suite that did not come to its end.
const notRun = -1

// Suite is what became of a package's tests. Numbers count tests without
// subtests.
type Suite struct {
	Package                 string
	Exit                    int
	Seconds                 float64
	Passed, Failed, Skipped int
	Failures                []Failure      `json:",omitempty"`
	Absent                  map[string]int `json:",omitempty"` // what the kernel lacks → skipped tests that need it
	Skips                   map[string]int `json:",omitempty"` // other reasons → skipped tests
}

// Failure is a test that failed, and what it said.
type Failure struct{ Test, Said string }

// told is how much of what a test said is told at once. The rest is in the results, which
// CI does not keep.
const told = 8 << 10

func (f Failure) String() string {
	said := strings.TrimRight(f.Said, "\n")
	if len(said) > told {
		said = said[:told] + "\n[…]"
	}
	return strings.ReplaceAll(f.Test+" failed\n"+said, "\n", "\n    ")
}

// event is a line of test2json.
type event struct{ Action, Test, Output string }

// read reads the output of a test binary.
func (s *Suite) read(ctx context.Context, output []byte) error {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json")
	cmd.Stdin = bytes.NewReader(output)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%v: %w", cmd, err)
	}
	verdicts, says := map[string]string{}, map[string]string{}
	parents, blamed := map[string]bool{}, map[string]bool{} // of a test, of one that failed
	var order []string
	for line := range bytes.Lines(out) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("test2json says %q: %w", line, err)
		}
		if e.Test == "" {
			continue
		}
		switch e.Action {
		case "run":
			order = append(order, e.Test)
			verdicts[e.Test] = failed // unless it ends
		case "output":
			if frame := strings.TrimSpace(e.Output); frame != "" && !strings.HasPrefix(frame, "=== ") && !strings.HasPrefix(frame, "--- ") {
				says[e.Test] += e.Output
			}
		case "pass", failed, "skip":
			verdicts[e.Test] = e.Action
		}
	}
	for _, test := range order {
		for i := strings.LastIndexByte(test, '/'); i > 0; i = strings.LastIndexByte(test[:i], '/') {
			parents[test[:i]] = true
			blamed[test[:i]] = blamed[test[:i]] || verdicts[test] == failed
		}
	}
	s.Absent, s.Skips = map[string]int{}, map[string]int{}
	for _, test := range order {
		// What has subtests counts only if it failed and none of them did.
		if !parents[test] || verdicts[test] == failed && !blamed[test] {
			s.count(test, verdicts[test], says[test])
		}
	}
	return nil
}

// failed is test2json's word.
const failed = "fail"

func (s *Suite) count(test, verdict, says string) {
	switch verdict {
	case "pass":
		s.Passed++
	case failed:
		s.Failed++
		s.Failures = append(s.Failures, Failure{test, says})
	case "skip":
		s.Skipped++
		why := reason(says)
		if what, ok := strings.CutPrefix(why, testenv.NotHere); ok {
			s.Absent[what]++
		} else {
			s.Skips[why]++
		}
	}
}

// reason returns what a skipped test said: what it lacks, or its last line with
// a place in a file. Scripts say more after it, of no interest.
func reason(says string) string {
	why := "no reason"
	for line := range strings.Lines(says) {
		place, text, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if ok && strings.Contains(place, ".go:") {
			if strings.HasPrefix(text, testenv.NotHere) {
				return text
			}
			if !strings.HasPrefix(text, "WORK=") { // of testscript
				why = text
			}
		}
	}
	return why
}

// complaints returns what is wrong with a result.
func (r *Result) complaints() []string {
	var all []string
	if r.Broken != "" {
		all = append(all, r.Broken)
	}
	for _, s := range r.Suites {
		for _, f := range s.Failures {
			all = append(all, fmt.Sprintf("%s: %s", s.Package, f))
		}
		switch {
		case s.Exit == notRun:
			all = append(all, s.Package+": it did not come to its end")
		case s.Exit != 0 && len(s.Failures) == 0:
			all = append(all, fmt.Sprintf("%s: exit status %d", s.Package, s.Exit))
		}
	}
	return append(all, unexpected(r)...)
}

// id names a kernel among those of all architectures.
func (r *Result) id() string { return vm.Kernel{Arch: r.Arch, Series: r.Series}.ID() }

func (r *Result) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.id()+".json"), append(b, '\n'), 0o644)
}

// readResults reads the results of a directory, oldest kernel first.
func readResults(dir string) ([]*Result, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*Result
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		r := &Result{Arch: "amd64"}
		if err := json.Unmarshal(b, r); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *Result) int {
		return cmp.Or(strings.Compare(a.Arch, b.Arch), compareVersions(a.Release, b.Release), strings.Compare(a.Series, b.Series))
	})
	return all, nil
}

func compareVersions(a, b string) int {
	var x, y [3]int
	fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2])
	fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	return slices.Compare(x[:], y[:])
}

const passed = "pass"

// verdict is a word for what became of a suite.
func (s Suite) verdict() string {
	switch {
	case s.Exit == 0 && s.Failed == 0:
		return passed
	case s.Exit == notRun:
		return "NO END"
	default:
		return "FAIL"
	}
}

func (s Suite) absences() (n int) {
	for _, count := range s.Absent {
		n += count
	}
	return n
}

func printTable(w io.Writer, results []*Result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "kernel\tpackage\t\tpassed\tfailed\tnot there\tskipped\tseconds")
	for _, r := range results {
		for _, s := range r.Suites {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%.0f\n",
				r.id(), s.Package, s.verdict(), s.Passed, s.Failed, s.absences(), s.Skipped-s.absences(), s.Seconds)
		}
	}
	t.Flush()
	for _, r := range results {
		reasons := map[string]int{}
		for _, s := range r.Suites {
			for why, n := range s.Skips {
				reasons[why] += n
			}
			for what, n := range s.Absent {
				reasons[testenv.NotHere+what] += n
			}
		}
		for _, why := range slices.Sorted(maps.Keys(reasons)) {
			fmt.Fprintf(w, "%s: %d × %s\n", r.id(), reasons[why], why)
		}
	}
}
