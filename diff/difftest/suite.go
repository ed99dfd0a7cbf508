package difftest

import (
	"context"
	"errors"
	"fmt"
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
	// idmaps, unless empty, map the owners of each lower layer, see [testenv.IDMapped];
	// "" is a layer that is not id-mapped.
	idmaps []string
	upper  string // a tree by hand
	ops    string // done through the mount
	want   string // the changes
	// fails: the mount has no answer, and neither may an engine have one.
	fails bool
	// mayRefuse: an engine may say that it doesn't support this.
	mayRefuse bool
	// ghosts: the mount lists names at which nothing is, which looks like a race.
	ghosts bool
	// odd gives the layers' directories names that need escapes.
	odd bool
	// needs are what not every kernel and file system has.
	needs []testenv.Need
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
		for _, g := range groups {
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, fs, open) })
			}
		}
	})
}

func (c testcase) run(tb testing.TB, fs testenv.FS, open Opener) {
	tb.Helper()
	err := c.ask(tb, fs, open, func(e diff.Engine) error { return checkContract(tb.Context(), e, c.ghosts) })
	if err != nil && c.mayRefuse && errors.Is(err, diff.ErrUnsupported) {
		tb.Skipf("the engine refuses: %v", err)
	}
	if err != nil {
		tb.Errorf("%v\n%s", err, c.why)
	}
}

// ask makes the case and returns what is wrong with the engine's answer or,
// where that is right, what more finds. The error matches diff.ErrUnsupported if
// the engine has none.
func (c testcase) ask(tb testing.TB, fs testenv.FS, open Opener, more func(diff.Engine) error) error {
	tb.Helper()
	v := c.build(tb, fs)
	want, err := reference(v)
	if (err != nil) != c.fails {
		tb.Fatalf("reference: error %v; want one: %v", err, c.fails)
	}
	if d := cmp.Diff(split(c.want), lines(want.changes)); d != "" {
		tb.Fatalf("the expectation is wrong on this kernel; %s (-expected +reference):\n%s", c.why, d)
	}
	for _, s := range v.stacks() {
		if err = c.askOf(tb, open, s, v, want, more); err != nil {
			break
		}
	}
	switch {
	case c.fails && err == nil:
		return errors.New("the engine has an answer, the mount has none")
	case c.fails:
		return nil
	}
	return err
}

// askOf asks an engine that is opened on one description of the case.
func (c testcase) askOf(tb testing.TB, open Opener, s diff.Stack, v *views, want answer, more func(diff.Engine) error) error {
	tb.Helper()
	e, err := open(tb.Context(), tb, s)
	if err != nil {
		return err
	}
	err = checkAnswer(tb.Context(), e, v, want, diff.Options{})
	if err == nil && !c.fails {
		err = more(e)
	}
	if cerr := e.Close(); cerr != nil {
		tb.Errorf("close: %v", cerr)
	}
	return err
}

func (c testcase) build(t testing.TB, fs testenv.FS) *views {
	t.Helper()
	testenv.Needs(t, fs, c.needs...)
	dir := testenv.Scratch(t, fs)
	if c.odd {
		dir = filepath.Join(dir, `a:b,c\d e`)
	}
	o := overlay{fs: fs, dir: dir, upper: filepath.Join(dir, "upper"), options: c.options, idmaps: c.idmaps}
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

// group is a feature or trap of overlayfs and the cases about it.
type group struct {
	name  string
	about string
	cases []testcase
}

var groups = []group{
	{"Whiteouts", "A deleted name is a character device 0:0 in the upper directory, or an empty file with an attribute.", whiteoutCases},
	{"Opaque directories", "A directory marked opaque hides the lower directories of its name.", opaqueCases},
	{"Copy-up", "What is changed is first copied to the upper directory, whole: that it is there does not say that it changed.", copyUpCases},
	{"Hard links", "Several names of one inode, in layers that copy names one by one.", linkCases},
	{"Type changes", "A name that was a directory and is a file now, and so on.", typeCases},
	{"redirect_dir", "A renamed directory stays in the lower layer; the upper one has an empty directory that names the old path.", redirectCases},
	{"metacopy", "After a chmod the upper directory has a file with the new metadata and a hole of the right size; the content is in a lower layer.", metacopyCases},
	{"index", "Names of one lower inode stay one inode when it is changed; the changed inode may be in the work directory alone.", indexCases},
	{"nfs_export", "Every changed inode is in the index.", nfsExportCases},
	{"userxattr", "Markers are user.overlay.* attributes, which a container may set itself; only the mount options tell which count.", userxattrCases},
	{"Nested overlays", "Markers of an overlay inside the overlay are escaped in the layers.", nestedCases},
	{"Data-only layers", "A layer that shows no names and has the content of metacopy files.", dataCases},
	{"Options without a trace", "They leave nothing in the layers.", plainOptionCases},
	{"Stacks of layers", "What the lower layers show together is what the upper one is compared with.", stackCases},
	{"Owners", "A layer may be an id-mapped mount, which shows other owners than are stored in it.", ownerCases},
	{"Layers by hand", "Marks that no kernel leaves, but privileged containers, image authors and broken tools do. See also TestRaw.", rawCases},
	{"Names and order", "Names are bytes, and paths are ordered component by component.", nameCases},
}
