package difftest

import (
	"context"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// forgetful is an engine that loses the deletes of symbolic links.
type forgetful struct{ diff.Engine }

func (e forgetful) Changes(ctx context.Context, opts diff.Options) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
		for c, err := range e.Engine.Changes(ctx, opts) {
			if err == nil && c.Kind == diff.Delete && c.Entry.Type == diff.Symlink {
				continue
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

func openForgetful(ctx context.Context, tb testing.TB, s diff.Stack) (diff.Engine, error) {
	e, err := openRef(ctx, tb, s)
	return forgetful{e}, err
}

// TestShrink finds a case that the forgetful engine gets wrong, among random
// ones, and has it shrunk to all that it takes: a link, and its removal.
func TestShrink(t *testing.T) {
	testenv.RequireRoot(t)
	r := random{t: t, fs: testenv.Tmpfs, engines: map[string]Opener{"forgetful": openForgetful, "right": openRef}}
	fails := func(c *testenv.Case) bool { return r.try(c).wrong["forgetful"] != "" }
	found := 0
	for seed := uint64(1); seed < 100 && found < 3; seed++ {
		c := testenv.Random(seed, r.mount(allMounts, seed))
		v := r.try(c)
		if v.wrong["right"] != "" || v.wrong[setting] != "" {
			t.Errorf("%v, in\n%s", v.wrong, c)
		}
		if v.wrong["forgetful"] == "" {
			continue
		}
		found++
		small := shrink(c, fails)
		t.Logf("from %d operations to\n%s", c.Ops(), small)
		if small.Ops() > 4 || len(small.Layers) != 2 || !strings.Contains(small.String(), "symlink") || !fails(small) {
			t.Errorf("shrunk to\n%s", small)
		}
		again, err := testenv.ParseCase(small.String())
		if err != nil || !fails(again) {
			t.Errorf("as a script it does not fail: error %v", err)
		}
	}
	if found == 0 {
		t.Error("no case shows the mistake")
	}
}

func TestShrink_Minimal(t *testing.T) {
	script := "options volatile,index=on,xino=on\nlayer\ncreate a\ncreate b\nmkdir c\nlayer\nopen a\nlayer\nrmdir c\nopen b\nlayer\ncreate d\nunlink b\nopen a\n"
	c, err := testenv.ParseCase(script)
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	fails := func(c *testenv.Case) bool { // needs these three lines in this order
		tries++
		s := c.String()
		a, b, i := strings.Index(s, "create b"), strings.LastIndex(s, "unlink b"), strings.Index(s, "index=on")
		return i >= 0 && a > i && b > a
	}
	if got := shrink(c, fails); got.Ops() != 2 || len(got.Layers) != 2 || got.Options != "index=on" || !fails(got) {
		t.Errorf("shrunk to\n%s", got)
	}
	if tries > 100 {
		t.Errorf("%d tries", tries)
	}
	if s := shrink(c, func(*testenv.Case) bool { return false }); s != c {
		t.Errorf("a case that fails no more became\n%s", s)
	}
}

func TestTry(t *testing.T) {
	var order []string
	tr := try(t, func(tb testing.TB) {
		tb.Cleanup(func() { order = append(order, "last"); tb.Error("late") })
		tb.Cleanup(func() { order = append(order, "first"); tb.FailNow() })
		tb.TempDir()
		tb.Fatalf("number %d", 1)
		order = append(order, "not reached")
	})
	if want := []string{"first", "last"}; !tr.Failed() || !slices.Equal(order, want) || !strings.HasPrefix(tr.log.String(), "number 1\n") {
		t.Errorf("failed %v, order %q, log %q", tr.Failed(), order, tr.log.String())
	}
	if tr := try(t, func(tb testing.TB) { tb.Skip("why") }); tr.Failed() || !tr.Skipped() {
		t.Error("a skip is a failure")
	}
}
