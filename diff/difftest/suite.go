package difftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// Opener opens an engine on a mounted stack. The suite closes the engine.
type Opener func(ctx context.Context, tb testing.TB, s diff.Stack) (diff.Engine, error)

// testcase is one row of the tables. Several lines are separated by "; ".
type testcase struct {
	name    string
	why     string   // where it is not obvious
	options string   // of the mount
	lower   []string // a tree for each lower layer, topmost first
	data    []string // a tree for each data-only layer
	upper   string   // a tree by hand
	ops     string   // done through the mount
	want    string   // the changes
	// fails: the mount has no answer, and neither may an engine have one.
	fails bool
	// mayRefuse: an engine may say that it doesn't support this.
	mayRefuse bool
	// ghosts: the mount lists names at which nothing is, which looks like a race.
	ghosts bool
	// odd gives the layers' directories names that need escapes.
	odd bool
	// since is the first kernel that behaves so, for older ones to skip.
	since [2]int
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "; ")
}

// Run runs the conformance suite on every file system.
func Run(t *testing.T, open Opener) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for _, c := range cases() {
			t.Run(c.name, func(t *testing.T) { c.run(t, fs, open) })
		}
	})
}

func (c testcase) run(t *testing.T, fs testenv.FS, open Opener) {
	t.Helper()
	v := c.build(t, fs)
	want, err := reference(v)
	if (err != nil) != c.fails {
		t.Fatalf("reference: error %v; want one: %v", err, c.fails)
	}
	if d := cmp.Diff(split(c.want), lines(want.changes)); d != "" {
		t.Fatalf("the expectation is wrong on this kernel; %s (-expected +reference):\n%s", c.why, d)
	}
	e, err := open(t.Context(), t, v.stack)
	if err == nil {
		err = checkAnswer(t.Context(), e, v, want)
		if err == nil && !c.fails {
			err = checkContract(t.Context(), e, c.ghosts)
		}
		if cerr := e.Close(); cerr != nil {
			t.Errorf("close: %v", cerr)
		}
	}
	if c.fails {
		if err == nil {
			t.Errorf("the engine has an answer, the mount has none: %s", c.why)
		}
		return
	}
	if err != nil && c.mayRefuse && errors.Is(err, diff.ErrUnsupported) {
		t.Skipf("the engine refuses: %v", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, c.why)
	}
}

func (c testcase) build(t *testing.T, fs testenv.FS) *views {
	t.Helper()
	if release, older := kernelOlder(c.since); older {
		t.Skipf("needs kernel %d.%d, this is %s", c.since[0], c.since[1], release)
	}
	dir := testenv.Scratch(t, fs)
	if c.odd {
		dir = filepath.Join(dir, `a:b,c\d e`)
	}
	o := overlay{dir: dir, upper: filepath.Join(dir, "upper"), options: c.options}
	for i, tree := range c.lower {
		o.lower = append(o.lower, filepath.Join(dir, fmt.Sprintf("lower%d", i+1)))
		testenv.Tree(t, o.lower[i], split(tree)...)
	}
	for i, tree := range c.data {
		o.data = append(o.data, filepath.Join(dir, fmt.Sprintf("data%d", i+1)))
		testenv.Tree(t, o.data[i], split(tree)...)
	}
	testenv.Tree(t, o.upper, split(c.upper)...)
	return o.mount(t, func(merged string) { testenv.Do(t, merged, split(c.ops)...) })
}

func kernelOlder(than [2]int) (release string, older bool) {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	var major, minor int
	if _, serr := fmt.Sscanf(string(b), "%d.%d", &major, &minor); err != nil || serr != nil {
		return "", false
	}
	return strings.TrimSpace(string(b)), major < than[0] || major == than[0] && minor < than[1]
}

// cases returns the table, which is in several files.
func cases() []testcase {
	var all []testcase
	for _, table := range [][]testcase{
		whiteoutCases, copyUpCases, linkCases, typeCases, nameCases, stackCases, userxattrCases, redirectCases, featureCases,
	} {
		all = append(all, table...)
	}
	return all
}
