package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
)

func TestFuzzCounts(t *testing.T) {
	const out = `fuzz: elapsed: 0s, gathering baseline coverage: 0/192 completed
fuzz: elapsed: 3s, execs: 12345 (4113/sec), new interesting: 2 (total: 194)
fuzz: elapsed: 6s, execs: 1234567 (4113/sec), new interesting: 3 (total: 195)
PASS
`
	got, err := fuzzCounts(out)
	want := []torture.Count{{Unit: "inputs tried", N: 1234567}, {Unit: "in the corpus", N: 195}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	for _, none := range []string{"", "ok\n", "fuzz: elapsed: 3s, execs: 0 (0/sec), new interesting: 0 (total: 4)\n"} {
		if _, err := fuzzCounts(none); err == nil {
			t.Errorf("%q: nothing was tried, and no error", none)
		}
	}
}

func TestOnlyTimeUp(t *testing.T) {
	for out, want := range map[string]bool{
		"fuzz: elapsed: 1m0s\n--- FAIL: FuzzID (60.39s)\n    context deadline exceeded\nFAIL\nexit status 1\n":                                          true,
		"--- FAIL: FuzzID (60.39s)\n    --- FAIL: FuzzID (0.00s)\n        x_test.go:1: context deadline exceeded\n\nFailing input written to x\nFAIL\n": false,
		"--- FAIL: FuzzID (3.1s)\n    x_test.go:1: context deadline exceeded\nFAIL\n":                                                                   false,
	} {
		if got := onlyTimeUp.MatchString(out); got != want {
			t.Errorf("%q: %t", out, got)
		}
	}
}

func TestFunctions(t *testing.T) {
	found, err := functions(t.Context(), "Test", ".")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(found, func(f function) bool { return f.name == "TestFunctions" && strings.HasSuffix(f.pkg, "/campaign") }) {
		t.Errorf("this test is not found: %v", found)
	}
	if found, err = functions(t.Context(), "Fuzz", "."); err != nil || len(found) > 0 {
		t.Errorf("there are no fuzz targets here: %v, %v", found, err)
	}
}

func TestFollower(t *testing.T) {
	var shown bytes.Buffer
	f := &follower{show: &shown}
	for _, piece := range []string{"=== RUN   TestA\n=== RUN   TestA/sub\n    a.go:1: x\n---", " PASS: TestA (0.10s)\n    --- PASS: TestA/sub (0.10s)\nPA", "SS\n"} {
		if n, err := f.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := "=== RUN   TestA\n--- PASS: TestA (0.10s)\n"; shown.String() != want {
		t.Errorf("shown %q, want %q", &shown, want)
	}
	if !strings.HasSuffix(string(f.tail), "PASS\n") {
		t.Errorf("kept %q", f.tail)
	}
}

// What is run again replaces what it found before, and the document says what failed.
func TestLedger(t *testing.T) {
	dir := t.TempDir()
	l := ledger{path: filepath.Join(dir, "log")}
	if err := l.read(); err != nil {
		t.Fatal(err)
	}
	l.add("old", []torture.Record{
		{Area: torture.Races, Test: "TestA", Failed: true, Counts: []torture.Count{{Unit: "races", N: 5}}},
		{Area: torture.Races, Test: "TestB", Counts: []torture.Count{{Unit: "races", N: 1000}}, Notes: []string{"a\nb"}},
	})
	if err := l.write(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		failed bool
		want   []string
	}{
		{true, []string{"| races | 2 | 1,234,567 races | **1** |", "| TestA | 1,233,567 races | 0 | new | **failed** |", "| TestB | 1,000 races | 0 | old | ok |", "- TestB: a b", "| soak | 0 | not run |  |"}},
		{false, []string{"| races | 2 | 1,234,567 races | 0 |", "| TestA | 1,233,567 races | 0 | new | ok |"}},
	} {
		l := ledger{path: l.path}
		if err := l.read(); err != nil {
			t.Fatal(err)
		}
		l.add("new", []torture.Record{{Area: torture.Races, Test: "TestA", Failed: c.failed, Counts: []torture.Count{{Unit: "races", N: 1233567}}}})
		doc := filepath.Join(dir, "doc.md")
		if err := l.document(doc); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range c.want {
			if !strings.Contains(string(b), line+"\n") {
				t.Errorf("failed %t: no line %q in\n%s", c.failed, line, b)
			}
		}
	}
}

// A check that finds something fails, and so does the campaign.
func TestStatic(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, content := range map[string]string{
		"go.mod": "module example.com/m\n\ngo 1.26.0\n",
		"m.go":   "package m\n\nimport \"fmt\"\n\nfunc F() { fmt.Printf(\"%d\", \"s\");  }\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := campaign{match: regexp.MustCompile("^(gofmt|go vet)$"), dir: dir}
	if err := c.static(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(c.records) != 2 || !c.records[0].Failed || !c.records[1].Failed {
		t.Errorf("%+v", c.records)
	}
}
