package torture_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

var engines = []overlaydiff.Choice{overlaydiff.Native, overlaydiff.Naive}

// quiet is an overlay of which a part is known and not touched.
type quiet struct {
	stack  diff.Stack
	merged string
	tmp    string
	behind bool // the upper directory is written to behind the mount
}

// What the quiet part has.
var (
	quietChanges = []string{
		"A /quiet/linked", "A /quiet/made", "C /quiet/mode mode", "C /quiet/modified size,content,mtime",
		"A /quiet/new", "D /quiet/removed", "A /quiet/renamed", "A /quiet/renamed/f", "D /quiet/tree",
	}
	quietLayer = map[string]string{
		"quiet/": "", "quiet/linked": "1234", "quiet/made/": "", "quiet/mode/": "", "quiet/modified": "old and new", "quiet/new": "=quiet/linked",
		"quiet/.wh.removed": "", "quiet/renamed/": "", "quiet/renamed/f": "f", "quiet/.wh.tree": "",
	}
)

const (
	quietBytes      = int64(len("old and new") + len("1234")) // in the upper directory
	quietSize       = quietBytes + int64(len("f"))            // of the renamed directory, too
	quietMostInodes = 9                                       // with the roots, the whiteouts and what is renamed
)

func newQuiet(t *testing.T, dir, options string) *quiet {
	t.Helper()
	lower := []string{filepath.Join(dir, "lower1"), filepath.Join(dir, "lower2")}
	testenv.Tree(t, lower[0], "file busy/p0/q0/r", "file busy/p1/q1 size=300000", "file low/f", "dir quiet/mode mode=755", "file quiet/removed")
	testenv.Tree(t, lower[1], "file busy/p1/q0/r", "file busy/p2/q0 content=x", "file low/g", "file top0/x", "file data content=data",
		"file quiet/same content=same", `file quiet/modified content="old"`, "file quiet/tree/f content=f")
	q := &quiet{tmp: filepath.Join(dir, "tmp")}
	testenv.Tree(t, q.tmp)
	upper := filepath.Join(dir, "upper")
	q.merged = testenv.Mount(t, testenv.Overlay{Lower: lower, Upper: upper, Work: filepath.Join(dir, "work"), Options: options})
	testenv.Do(t, q.merged, `write quiet/modified " and new"`, "create quiet/new 1234", "link quiet/new quiet/linked", "mkdir quiet/made",
		"chmod quiet/mode 700", "unlink quiet/removed", "rename quiet/tree quiet/renamed")
	var err error
	if q.stack, err = overlaydiff.FromMount(t.Context(), q.merged); err != nil {
		t.Fatal(err)
	}
	return q
}

// answers asks for everything once, and returns how many walks that were and how many
// races there were. What is quiet must be in each answer as it is.
func (q *quiet) answers(t *testing.T, engine overlaydiff.Choice, workers int) (walks int, raced int64) {
	t.Helper()
	d, err := overlaydiff.Open(t.Context(), q.stack, overlaydiff.Options{Engine: engine, Workers: workers})
	if err != nil {
		t.Errorf("%s: open: %v", engine, err)
		return 0, 0
	}
	defer d.Close()
	steps := []struct {
		name string
		ask  func(t *testing.T, d *overlaydiff.Diff) error
	}{
		{"changes", q.changes}, {"size", q.size}, {"explain", q.explain}, {"export", q.export}, {"verify", q.verify},
		{"usage", q.usage}, {"ps", q.ps}, {"copy-ups", q.copyUps},
	}
	for _, step := range steps {
		err := step.ask(t, d)
		var unreadable *diff.UnreadableError
		if q.behind && errors.As(err, &unreadable) && !strings.HasPrefix(unreadable.Path, "/quiet") {
			continue // the lookup of such a name may end in ESTALE, as in the mount
		}
		if err != nil {
			t.Errorf("%s, %d workers: %s: %v", engine, workers, step.name, err)
		}
	}
	return len(steps), d.Raced()
}

func (q *quiet) changes(t *testing.T, d *overlaydiff.Diff) error {
	var got []string
	last := "/"
	for c, err := range d.Changes(t.Context()) {
		if err != nil {
			return fmt.Errorf("after %s: %w", diff.QuotePath(last), err)
		}
		if diff.ComparePaths(last, c.Path) >= 0 {
			return fmt.Errorf("%q is followed by %q", last, c.Path)
		}
		if last = c.Path; strings.HasPrefix(c.Path, "/quiet/") {
			got = append(got, strings.TrimSpace(c.String()+" "+strings.Join(c.What.Names(), ",")))
		}
	}
	if d := cmp.Diff(quietChanges, got); d != "" {
		return fmt.Errorf("of what is quiet (-want +got):\n%s", d)
	}
	return nil
}

func (q *quiet) size(t *testing.T, d *overlaydiff.Diff) error {
	n, err := d.Size(t.Context())
	if err == nil && n < quietSize {
		err = fmt.Errorf("%d bytes; what is quiet has %d alone", n, quietSize)
	}
	return err
}

func (q *quiet) usage(t *testing.T, _ *overlaydiff.Diff) error {
	u, err := overlaydiff.Usage(t.Context(), q.stack, overlaydiff.Options{})
	if err == nil && (u.Bytes < quietBytes || u.Inodes < quietMostInodes || u.Whiteouts < 2) {
		err = fmt.Errorf("%+v", u)
	}
	return err
}

func (q *quiet) ps(t *testing.T, _ *overlaydiff.Diff) error {
	c := stores.Container{ID: "c", Stack: q.stack, RW: stores.Layer{Dir: q.stack.Upper}}
	for _, lower := range q.stack.Lower {
		c.Layers = append(c.Layers, stores.Layer{Dir: lower})
	}
	rule := node.Own
	rule.MeasuresLayers = true
	list, err := node.Measure(t.Context(), []stores.Container{c}, node.Options{Rule: rule, CopyUps: true})
	if err != nil || len(list) != 1 {
		return fmt.Errorf("%d containers, %w", len(list), err)
	}
	m := list[0]
	if err := errors.Join(m.Err, m.RootFsErr, m.CopyUpsErr); err != nil {
		return err
	}
	if m.SizeRw < quietBytes || m.SizeRootFs < m.SizeRw+300_000 {
		return fmt.Errorf("%d and %d bytes", m.SizeRw, m.SizeRootFs)
	}
	return nil
}

func (q *quiet) copyUps(t *testing.T, d *overlaydiff.Diff) error {
	_, err := d.CopyUps(t.Context())
	if d.Engine() == "naive" && errors.Is(err, diff.ErrUnsupported) {
		return nil
	}
	return err
}

func (q *quiet) explain(t *testing.T, d *overlaydiff.Diff) error {
	for _, change := range quietChanges {
		path := strings.Fields(change)[1]
		x, err := d.Explain(t.Context(), path)
		if err != nil {
			return err
		}
		if x.Change == nil || !strings.HasPrefix(change, x.Change.String()) {
			return fmt.Errorf("of %s: %v", path, x.Change)
		}
	}
	for _, path := range []string{"/busy", "/busy/p0", "/busy/p0/q0", "/busy/p1/q1", "/busy/p2/q0/r", "/top0/x", "/top1"} {
		var race *diff.RaceError
		if _, err := d.Explain(t.Context(), path); err != nil && !errors.As(err, &race) {
			return err
		}
	}
	return nil
}

func (q *quiet) export(t *testing.T, d *overlaydiff.Diff) error {
	var b bytes.Buffer
	if _, err := d.Export(t.Context(), &b, layer.ExportOptions{}); err != nil {
		return err
	}
	got := map[string]string{}
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the layer: %w", err)
		}
		content, err := io.ReadAll(r)
		if err != nil || int64(len(content)) != h.Size {
			return fmt.Errorf("%s in the layer: %d bytes of %d, %w", h.Name, len(content), h.Size, err)
		}
		if strings.HasPrefix(h.Name, "quiet/") {
			got[h.Name] = string(content)
			if h.Typeflag == tar.TypeLink {
				got[h.Name] += "=" + h.Linkname
			}
		}
	}
	if d := cmp.Diff(quietLayer, got); d != "" {
		return fmt.Errorf("of what is quiet (-want +got):\n%s", d)
	}
	return nil
}

func (q *quiet) verify(t *testing.T, d *overlaydiff.Diff) error {
	v, err := d.Verify(t.Context(), overlaydiff.VerifyOptions{TempDir: q.tmp})
	for _, one := range append(v.Differences, v.Inexpressible...) {
		if strings.HasPrefix(one.Path, "/quiet") {
			err = errors.Join(err, fmt.Errorf("a difference at %s: %v", one.Path, one.What))
		}
	}
	return err
}
