package native_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// The suite that every engine passes (diff/difftest) runs on this one from the
// root package. Here is what only an engine that reads layers can get wrong.

func TestMain(m *testing.M) { testenv.Main(m) }

// layers is an overlay as text. Lines of one tree are separated by "; ".
type layers struct {
	options string
	lower   []string // topmost first
	data    []string
	upper   string
}

func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "; ")
}

// make makes the layers below dir: upper, lower1 (topmost), data1 and so on.
func (l layers) make(t *testing.T, dir string) overlay {
	t.Helper()
	o := overlay{options: l.options, stack: diff.Stack{Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}}
	for i, tree := range l.lower {
		o.stack.Lower = append(o.stack.Lower, filepath.Join(dir, "lower"+strconv.Itoa(i+1)))
		testenv.Tree(t, o.stack.Lower[i], lines(tree)...)
	}
	for i, tree := range l.data {
		o.stack.Data = append(o.stack.Data, filepath.Join(dir, "data"+strconv.Itoa(i+1)))
		testenv.Tree(t, o.stack.Data[i], lines(tree)...)
	}
	testenv.Tree(t, o.stack.Upper, lines(l.upper)...)
	testenv.Tree(t, o.stack.Work)
	o.stack.Features = featuresOf(t, l.options)
	return o
}

// featuresOf returns what the kernel makes of mount options.
func featuresOf(t *testing.T, options string) diff.Features {
	t.Helper()
	if options != "" {
		options = "," + options
	}
	s, err := mountutil.StackOfOptions("lowerdir=/l,upperdir=/u,workdir=/w" + options)
	if err != nil {
		t.Fatal(err)
	}
	return s.Features
}

// overlay is a stack with the options to mount it.
type overlay struct {
	stack   diff.Stack
	options string
}

// views are the two views as mounts. The new one can be written to.
type views struct{ old, new string }

// mount mounts both views.
func (o overlay) mount(t *testing.T) views {
	t.Helper()
	s := o.stack
	v := views{new: testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Data: s.Data, Upper: s.Upper, Work: s.Work, Options: o.options})}
	v.old = o.mountOld(t)
	return v
}

// mountOld mounts the lower layers alone, which must be two at least.
func (o overlay) mountOld(t *testing.T) string {
	t.Helper()
	lower := o.stack.Lower
	if len(lower)+len(o.stack.Data) < 2 {
		lower = append(slices.Clip(lower), t.TempDir())
	}
	options := slices.DeleteFunc(strings.Split(o.options, ","), func(o string) bool {
		return o == "volatile" || strings.HasPrefix(o, "index=") || strings.HasPrefix(o, "nfs_export=")
	})
	return testenv.Mount(t, testenv.Overlay{Lower: lower, Data: o.stack.Data, Options: strings.Join(options, ",")})
}

// changes asks the engine, which must not see a race.
func (o overlay) changes(t *testing.T, workers int) ([]string, error) {
	t.Helper()
	var got []string
	err := each(t.Context(), o.stack, diff.Options{Workers: workers, OnRace: func(path string) error {
		t.Errorf("a race at %q, where nothing runs", path)
		return nil
	}}, func(c diff.Change) { got = append(got, plain(c).String()) })
	return got, err
}

// each opens the stack and calls do with each change.
func each(ctx context.Context, s diff.Stack, opts diff.Options, do func(diff.Change)) error {
	e, err := native.Open(ctx, s)
	if err != nil {
		return err
	}
	defer e.Close()
	for c, err := range e.Changes(ctx, opts) {
		if err != nil {
			return err
		}
		do(c)
	}
	return nil
}

func plain(c diff.Change) refdiff.Change {
	p := refdiff.Change{Kind: c.Kind.String(), Path: c.Path, Type: c.Entry.Type.String()}
	if c.What != 0 {
		p.What = c.What.Names()
	}
	return p
}

// check compares the engine with want, and with the reference on the mounts.
// The layers are read before they are mounted, and after the kernel has left
// its marks in them.
func (o overlay) check(t *testing.T, want ...string) {
	t.Helper()
	o.agrees(t, want)
	v := o.mount(t)
	if d := cmp.Diff(want, reference(t, v)); d != "" {
		t.Errorf("the expectation is wrong on this kernel (-expected +reference):\n%s", d)
	}
	o.agrees(t, want)
}

// checkMounted compares the engine with the reference on the mounts, and both
// with want.
func (o overlay) checkMounted(t *testing.T, v views, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, reference(t, v)); d != "" {
		t.Errorf("the expectation is wrong on this kernel (-expected +reference):\n%s", d)
	}
	o.agrees(t, want)
}

func (o overlay) agrees(t *testing.T, want []string) {
	t.Helper()
	for _, workers := range []int{1, 4} {
		got, err := o.changes(t, workers)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%d workers: error %v, changes (-want +engine):\n%s", workers, err, d)
			return
		}
	}
}

func reference(t *testing.T, v views) []string {
	t.Helper()
	changes, err := refdiff.Diff(v.old, v.new)
	if err != nil {
		t.Fatalf("reference: %v", err)
	}
	return plainLines(changes)
}

func plainLines(changes []refdiff.Change) (all []string) {
	for _, c := range changes {
		all = append(all, c.String())
	}
	return all
}

// testcase is a row of the tables of stacks that the mount has an answer for.
type testcase struct {
	name, why string
	layers
	want string
}

// run runs a table. newer has, by the name of a row, what makes its answer the
// expected one: on a kernel that lacks it, whatever the mount shows is right.
func run(t *testing.T, cases []testcase, newer map[string]testenv.Need) {
	for _, c := range cases {
		need := newer[c.name]
		delete(newer, c.name)
		t.Run(c.name, func(t *testing.T) {
			fs := c.fs()
			testenv.Needs(t, fs, c.needs()...)
			o := c.make(t, testenv.Scratch(t, fs))
			if need != "" && !testenv.Has(t, fs, need) {
				o.checkShown(t)
			} else {
				o.check(t, lines(c.want)...)
			}
			if t.Failed() {
				t.Log(c.why)
			}
		})
	}
	for name := range newer {
		t.Errorf("the table has no %q", name)
	}
}

// fs is the file system for the layers, which must take their attributes: a
// tmpfs has no user.* attributes on older kernels.
func (l layers) fs() testenv.FS {
	if strings.Contains(strings.Join(append(l.lower[:len(l.lower):len(l.lower)], l.upper, l.options), ";"), "user") {
		return testenv.Ext4
	}
	return testenv.Tmpfs
}

// needs are those without which the layers can't be mounted.
func (l layers) needs() (needs []testenv.Need) {
	if strings.Contains(l.options, "userxattr") {
		needs = append(needs, testenv.UserXattrMarks)
	}
	if len(l.data) > 0 {
		needs = append(needs, testenv.DataLayers)
		if !strings.Contains(l.options, "metacopy=on") {
			needs = append(needs, testenv.PlainDataLayers)
		}
	}
	return needs
}

// checkShown compares the engine with the mounts, whatever they show: if that is
// an error, the engine must have one, too.
func (o overlay) checkShown(t *testing.T) {
	t.Helper()
	before, beforeErr := o.changes(t, 1)
	v := o.mount(t)
	want, err := refdiff.Diff(v.old, v.new)
	if err != nil {
		if beforeErr == nil {
			t.Errorf("the mount has no answer (%v), the engine has %q", err, before)
		}
		return
	}
	if d := cmp.Diff(plainLines(want), before); d != "" || beforeErr != nil {
		t.Errorf("before it was mounted: error %v, changes (-reference +engine):\n%s", beforeErr, d)
	}
	o.agrees(t, plainLines(want))
}

// missing skips, or fails where it was required, a test that lacks something
// of its surroundings: see testenv.
func missing(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("OVERLAYDIFF_REQUIRE") != "" || os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
