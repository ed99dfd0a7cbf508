package archtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCheck shows that the rules can be broken: each case breaks one.
func TestCheck(t *testing.T) {
	rules, err := parse(table)
	if err != nil {
		t.Fatal(err)
	}
	const unix = "golang.org/x/sys/unix"
	for _, c := range []struct {
		pkg, imp, why string
		complaint     bool
	}{
		{"diff", "errors", "the standard library is free", false},
		{"diff", "internal/sys", "the vocabulary imports nothing of ours", true},
		{"diff", "golang.org/x/text", "nor of others", true},
		{"native", "diff", "", false},
		{"native", "naive", "one engine imports the other", true},
		{"naive", "native", "one engine imports the other", true},
		{"native", "layer", "beside", true},
		{"whiteout", "native", "upwards", true},
		{"native", ".", "the facade from below", true},
		{"layer", "github.com/klauspost/compress/zstd", "a package of a listed module", false},
		{"layer", "github.com/klauspost/compressed", "not of that module", true},
		{".", "github.com/klauspost/compress/zstd", "a module listed elsewhere", true},
		{"bench", "native", "benchmarks go through the facade", true},
		{"testenv/refdiff", "diff", "the reference shares no code with the engines", true},
		{"testenv/refdiff", "internal/sys", "the reference shares no code with the engines", true},
		{"testenv/refdiff", "testenv", "the reference shares no code with the engines", true},
		{"native", "testenv", "test code in what is shipped", true},
		{"internal/sys", "unsafe", "", false},
		{"native", "unsafe", "", true},
		{"internal/sys", unix, "", false},
		{"mountutil", unix, "", false},
		{"features", unix, "", false},
		{"testenv/vm/guestinit", unix, "", false},
		{"whiteout", unix, "", true},
		{"native", "syscall", "", false},
		{"diff", "syscall", "the vocabulary knows no kernel", true},
		{"stray", "errors", "a package without a line", true},
	} {
		imp := c.imp
		if _, ours := rules[importPath(imp)]; ours {
			imp = importPath(imp)
		}
		got := check(rules, []goPackage{{ImportPath: importPath(c.pkg), Imports: []string{imp}}})
		got = slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, "need not import") })
		if (len(got) > 0) != c.complaint {
			t.Errorf("%s imports %s (%s): complaints %q, want some: %v", c.pkg, c.imp, c.why, got, c.complaint)
		}
	}
}

// TestCheck_unused: what a line allows and nobody uses is taken out of it.
func TestCheck_unused(t *testing.T) {
	rules, err := parse("floor ground\na:\nb: a syscall example.com/used/... example.com/unused\n")
	if err != nil {
		t.Fatal(err)
	}
	got := check(rules, []goPackage{{ImportPath: importPath("b"), Imports: []string{"errors", "example.com/used/x"}}})
	want := []string{"b: need not import a", "b: need not import syscall", "b: need not import example.com/unused"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("complaints (-want +got):\n%s", d)
	}
}

// TestCheck_tests is TestCheck for what only tests import.
func TestCheck_tests(t *testing.T) {
	rules, err := parse(table)
	if err != nil {
		t.Fatal(err)
	}
	p := goPackage{
		ImportPath:   importPath("native"),
		TestImports:  []string{importPath("testenv"), importPath("features"), "github.com/google/go-cmp/cmp", "unsafe"},
		XTestImports: []string{importPath("."), importPath("naive"), "example.com/other", "golang.org/x/sys/unix"},
	}
	want := []string{
		"native: imports unsafe in a test",
		"native: imports . in a test",
		"native: imports example.com/other in a test",
		"native: imports golang.org/x/sys/unix in a test",
	}
	p.Imports = rules[p.ImportPath].imports
	if d := cmp.Diff(want, check(rules, []goPackage{p})); d != "" {
		t.Errorf("complaints (-want +got):\n%s", d)
	}
}

// TestParse_refuses shows that the table itself can't point upwards.
func TestParse_refuses(t *testing.T) {
	for _, c := range []struct{ table, want string }{
		{"floor ground\na:\na:\n", "table: a has two lines"},
		{"floor ground\na: b\n", "table: a may import b, which has no line"},
		{"floor ground\na: b\nfloor top\nb:\n", "table: a may import b, which is not on a floor below"},
		{"floor ground\nfloor top\na: b\nb:\n", "table: a may import b, which is not on a floor below"},
		{"floor ground\na: b\nb:\n", ""},
	} {
		_, err := parse(c.table)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("parse(%q): error %q, want %q", c.table, got, c.want)
		}
	}
}
