package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/vm"
)

// mark begins what test2json reads of a test binary with -test.v=test2json.
const mark = "\x16"

const output = mark + `=== RUN   TestPass
` + mark + `--- PASS: TestPass (0.00s)
` + mark + `=== RUN   TestTree
` + mark + `=== RUN   TestTree/good
` + mark + `=== RUN   TestTree/bad
    x_test.go:1: no good
` + mark + `=== RUN   TestTree/absent
    need.go:9: not on this kernel: userxattr on tmpfs
` + mark + `--- FAIL: TestTree (0.00s)
    ` + mark + `--- PASS: TestTree/good (0.00s)
    ` + mark + `--- FAIL: TestTree/bad (0.00s)
    ` + mark + `--- SKIP: TestTree/absent (0.00s)
` + mark + `=== RUN   TestItself
` + mark + `=== RUN   TestItself/good
    x_test.go:3: after a good part
` + mark + `--- FAIL: TestItself (0.00s)
    ` + mark + `--- PASS: TestItself/good (0.00s)
` + mark + `=== RUN   TestScript
    cmd.go:380: not on this kernel: userxattr on tmpfs
    testscript.go:609: WORK=/tmp/x: y
` + mark + `--- SKIP: TestScript (0.00s)
` + mark + `=== RUN   TestSkip
    x_test.go:2: needs a lion: none here
` + mark + `--- SKIP: TestSkip (0.00s)
` + mark + `=== NAME  
FAIL
`

func TestSuite_Read(t *testing.T) {
	var s Suite
	if err := s.read(t.Context(), []byte(output)); err != nil {
		t.Fatal(err)
	}
	want := Suite{
		Passed: 3, Failed: 2, Skipped: 3, Failures: []Failure{
			{"TestTree/bad", "    x_test.go:1: no good\n"}, {"TestItself", ""},
		},
		Absent: map[string]int{"userxattr on tmpfs": 2}, Skips: map[string]int{"needs a lion: none here": 1},
	}
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	// A test that was running when all ended has failed.
	s = Suite{}
	if err := s.read(t.Context(), []byte(mark+"=== RUN   TestX\npanic: oh\n")); err != nil || s.Failed != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestComplaints(t *testing.T) {
	all := map[string]int{}
	for _, l := range lacks["6.1"] {
		for _, fs := range l.on {
			all[testenv.Lacks(l.need, fs)] = 1
		}
	}
	but := func(not string) map[string]int {
		m := maps.Clone(all)
		delete(m, not)
		return m
	}
	some := slices.Min(slices.Collect(maps.Keys(all)))
	for name, test := range map[string]struct {
		r    Result
		want []string // parts of complaints
	}{
		"good":           {Result{Series: "6.1", Suites: []Suite{{Absent: all}}}, nil},
		"failed":         {Result{Series: "latest", Suites: []Suite{{Package: "p", Exit: 1, Failed: 1, Failures: []Failure{{"TestX", "x_test.go:1: no good\n"}}}}}, []string{"p: TestX failed\n    x_test.go:1: no good"}},
		"status only":    {Result{Series: "latest", Suites: []Suite{{Package: "p", Exit: 99}}}, []string{"p: exit status 99"}},
		"no end":         {Result{Series: "latest", Broken: "it panicked", Suites: []Suite{{Package: "p", Exit: notRun}}}, []string{"it panicked", "p: it did not come to its end"}},
		"skipped":        {Result{Series: "latest", Suites: []Suite{{Package: "p", Skips: map[string]int{"needs a lion": 2}}}}, []string{"2 tests are skipped: needs a lion"}},
		"lost something": {Result{Series: "latest", Suites: []Suite{{Absent: map[string]int{"userxattr on ext4": 1}}}}, []string{"for lack of userxattr on ext4"}},
		"got something":  {Result{Series: "6.1", Suites: []Suite{{Absent: but(some)}}}, []string{"nothing was left out for lack of " + some}},
		"a part":         {Result{Series: "6.1", Part: true, Suites: []Suite{{Absent: but(some)}}}, nil},
		"unknown series": {Result{Series: "4.19"}, []string{"4.19"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.r.complaints()
			if len(got) != len(test.want) {
				t.Fatalf("complaints %q, want %q", got, test.want)
			}
			for i, want := range test.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("complaint %q, want %q in it", got[i], want)
				}
			}
		})
	}
}

// TestEach: a series that the archive lost is no failure, too few kernels are.
func TestEach(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		have string // by the letter: there, missing, broken, not booted
		fail bool
	}{
		"all": {"ttttt", false}, "one missing": {"mtttt", false}, "two missing": {"mmttt", false}, "three missing": {"mmmtt", true},
		"one asked for": {"t", false}, "the one missing": {"m", true}, "one broken": {"ttttb", true}, "one does not boot": {"ttttn", true},
	} {
		t.Run(name, func(t *testing.T) {
			var kernels []vm.Kernel
			for _, c := range test.have {
				k := vm.Kernel{Series: string(c)}
				if c != 'm' {
					k.Dir = "/somewhere"
				}
				kernels = append(kernels, k)
			}
			err := each(t.Context(), 1, kernels, func(_ int, k vm.Kernel) (*Result, error) {
				switch k.Series {
				case "b":
					return &Result{}, broken
				case "n":
					return nil, vm.ErrNoVerdict
				}
				return &Result{}, nil
			})
			if (err != nil) != test.fail {
				t.Errorf("error %v, want one: %v", err, test.fail)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	tried := 0
	err := each(ctx, 1, make([]vm.Kernel, 0), nil)
	if err != nil {
		t.Error(err)
	}
	_ = each(ctx, 1, []vm.Kernel{{Dir: "/a"}, {Dir: "/b"}}, func(int, vm.Kernel) (*Result, error) {
		tried++
		cancel()
		return nil, context.Canceled
	})
	if tried != 1 {
		t.Errorf("%d kernels are tried after the end, want 1", tried)
	}
}

func TestDocument(t *testing.T) {
	dir := t.TempDir()
	o := options{results: dir, document: filepath.Join(dir, "doc.md")}
	if err := document(o); err == nil {
		t.Error("a document of nothing")
	}
	probed := func(userxattr string) json.RawMessage {
		return json.RawMessage(`{"features":[{"name":"mount","group":"overlay","asks":"it a|b","answer":"yes"},{"name":"userxattr","group":"overlay","asks":"x","answer":"` + userxattr + `"}]}`)
	}
	for _, r := range []*Result{
		{Arch: "amd64", Series: "latest", Release: "7.3.4+deb13-cloud-amd64", Emulated: true, Suites: []Suite{{Package: "native", Passed: 5, Seconds: 2}}, Probes: map[string]json.RawMessage{"ext4": probed("yes"), "tmpfs": probed("yes")}},
		{
			Arch: "amd64", Series: "5.10", Release: "5.10.0-46-cloud-amd64", Suites: []Suite{{Package: "native", Passed: 3, Failed: 1, Failures: []Failure{{Test: "TestX"}}, Skipped: 2, Absent: map[string]int{"userxattr on tmpfs": 2}}},
			Probes: map[string]json.RawMessage{"ext4": probed("unknown"), "tmpfs": probed("no")},
		},
		{Arch: "arm64", Series: "latest", Release: "7.3.4+deb13-cloud-arm64", Suites: []Suite{{Package: "native", Passed: 4, Seconds: 9}}, Probes: map[string]json.RawMessage{"ext4": probed("yes"), "tmpfs": probed("yes")}},
		{Arch: "arm64", Series: "latest-16k", Release: "7.3.4+deb13-arm64-16k", Suites: []Suite{{Package: "native", Passed: 4, Seconds: 8}}, Probes: map[string]json.RawMessage{"ext4": probed("yes"), "tmpfs": probed("yes")}},
		{Arch: "amd64", Series: "6.12", Release: "6.12.1", Part: true},
	} {
		if err := r.write(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := document(o); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(o.document)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| package | 5.10.0-46 | 7.3.4+deb13 | 7.3.4+deb13 arm64 | 7.3.4+deb13 arm64-16k |", "| `native` | **FAIL** 3, 1 failed, 2 not there; 0 s | 5; 2 s | 4; 9 s | 4; 8 s |", "- 5.10.0-46: native: TestX failed\n",
		"| `userxattr` | ?, tmpfs no | yes | yes | yes | x |", `it a\|b`, "- 5.10.0-46: userxattr on tmpfs\n", "- 7.3.4+deb13: nothing is missing\n", "| latest | arm64 | 7.3.4+deb13-cloud-arm64 |", "QEMU emulates",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in the document:\n%s", want, b)
		}
	}
	if strings.Contains(string(b), "6.12.1") {
		t.Error("a part of the tests is in the document")
	}
}
