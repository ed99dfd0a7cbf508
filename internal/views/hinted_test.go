package views_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/internal/views"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// hinted is a third engine, and all that one takes. It is told at which paths two trees may
// differ, as btrfs's generation numbers, zfs diff or fanotify tell it, and looks nowhere else.
type hinted struct {
	from, to int // the roots
	hints    hints
}

// hints are the names of a directory at which the trees may differ, with those below. A path
// that is hinted itself has all names below it.
type hints struct {
	below map[string]*hints
	all   bool
}

func (h *hints) add(path string) {
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if h.below == nil {
			h.below = map[string]*hints{}
		}
		if h.below[name] == nil {
			h.below[name] = &hints{}
		}
		h = h.below[name]
	}
	h.all = true
}

// spot is a directory of either tree, nil where the tree has none.
type spot struct {
	from, to *fswalk.Dir
	hints    *hints
}

type word string

func (w word) String() string { return string(w) }

// hintedViews are the views of one question: a [views.Views], and its lookups.
type hintedViews struct {
	root spot
	at   *spot
	refs [2]inode.Ref
}

func (e *hinted) views(_ context.Context, pool *fswalk.Pool, _ views.Question) (views.Views[spot, word], error) {
	return &hintedViews{root: spot{pool.Root(e.from, "old"), pool.Root(e.to, "new"), &e.hints}}, nil
}

func (w *hintedViews) Root() spot                             { return w.root }
func (w *hintedViews) Name(name string) word                  { return word(name) }
func (w *hintedViews) Layers() ([]diff.LayerAt, error)        { return nil, nil }
func (w *hintedViews) Enter(s *spot) views.Lookup[spot, word] { return &hintedViews{at: s} }
func (w *hintedViews) Leave()                                 {}

func (w *hintedViews) Names(ctx context.Context, s *spot) ([]word, error) {
	var names []word
	for name := range s.hints.below {
		names = append(names, word(name))
	}
	for _, d := range []*fswalk.Dir{s.from, s.to} {
		if !s.hints.all || d == nil {
			continue
		}
		list, err := d.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			names = append(names, word(e.Name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (w *hintedViews) Lookup(name word, v *views.Visit[spot]) (err error) {
	if v.Old, v.Child.from, err = w.find(0, w.at.from, name); err != nil {
		return err
	}
	if v.New, v.Child.to, err = w.find(1, w.at.to, name); err != nil {
		return err
	}
	if v.Child.hints = w.at.hints.below[string(name)]; v.Child.hints == nil || w.at.hints.all {
		v.Child.hints = &hints{all: w.at.hints.all}
	}
	v.Below = v.New != nil && v.New.IsDir()
	return nil
}

func (w *hintedViews) find(i int, d *fswalk.Dir, name word) (*inode.Ref, *fswalk.Dir, error) {
	if d == nil {
		return nil, nil, nil
	}
	r := &w.refs[i]
	*r = inode.Ref{Dir: d, Name: string(name)}
	err := d.Stat(r.Name, sys.StatAll, &r.Stat)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, nil
	case err != nil || !r.IsDir():
		return r, nil, err
	case name == "":
		return r, d, nil
	}
	return r, r.Child(), nil
}

func (w *hintedViews) Payload(inNew bool) diff.Payload {
	if inNew {
		return &inode.Payload{Ref: w.refs[1]}
	}
	return &inode.Payload{Ref: w.refs[0]}
}

// A third engine is right wherever its hints are: told of everything that the reference finds
// in random trees, it finds that; told of less, only that.
func TestHinted(t *testing.T) {
	testenv.RequireRoot(t)
	for seed := range uint64(60) {
		dir := t.TempDir()
		c := testenv.Random(seed, "")
		lowers := c.Lowers(t, dir)
		from := lowers[len(lowers)-1]
		to := dir + "/to"
		if err := errors.Join(os.Mkdir(to, 0o755), testenv.Replicate(from, to), testenv.Attempt(to, c.Upper())); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		reference, err := refdiff.Diff(from, to)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		e := &hinted{from: open(t, from), to: open(t, to)}
		var want []string
		for i, change := range reference {
			if i%3 == 0 && seed%2 == 0 { // nobody told of this one, nor of what is below
				continue
			}
			e.hints.add(change.Path)
		}
		for _, change := range reference {
			if e.hints.has(change.Path) {
				want = append(want, change.Kind+" "+change.Path)
			}
		}
		var got []string
		for change, err := range views.Changes(t.Context(), diff.Options{}, e.views) {
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			got = append(got, change.Kind.String()+" "+change.Path)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("seed %d (-want +got):\n%s", seed, d)
		}
	}
}

// has reports whether the hints lead to a path.
func (h *hints) has(path string) bool {
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if h.all {
			return true
		}
		if h = h.below[name]; h == nil {
			return false
		}
	}
	return true
}

func open(t *testing.T, path string) int {
	fd, err := sys.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Close(fd) })
	return fd
}
