// Package drivertest is what a graph driver passes that answers with overlaydiff, beside
// the suite of the program that it is for: the answers are those of the slow reference
// differ, of curated edits also those of the program's own comparison, layers make the
// view that they were made of, ids are mapped, and nothing is left of a diff, read to
// its end or not.
//
// It mounts and so needs root; see package testenv.
package drivertest

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/integration/graph"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// Driver is a graph driver, for tests. Changes are as docker diff prints them.
type Driver interface {
	graph.Layers
	Create(id, parent string) error
	// Edit mounts a layer for writing.
	Edit(id string) (dir string, unmount func() error, err error)

	Diff(id, parent string) (io.ReadCloser, error)
	Changes(id, parent string) ([]string, error)
	DiffSize(id, parent string) (int64, error)
	ApplyDiff(id, parent string, archive io.Reader) (int64, error)

	// Stock is Changes as the program itself compares mounted trees; it has to be
	// right for edits that a modification time tells of.
	Stock(id, parent string) ([]string, error)
}

// Opener opens a driver with an empty store in the directory home, which need not
// exist. The container's user and group 0 are the host's shift, and so on.
type Opener func(tb testing.TB, home string, shift uint32) Driver

// Run runs the suite.
func Run(t *testing.T, open Opener) {
	t.Run("Edits", func(t *testing.T) { testEdits(start(t, open, 0)) })
	t.Run("Random", func(t *testing.T) { testRandom(t, open) })
	t.Run("Mapped", func(t *testing.T) { testMapped(start(t, open, shift)) })
	t.Run("Closed", func(t *testing.T) { testClosed(start(t, open, 0)) })
	t.Run("Together", func(t *testing.T) { testTogether(start(t, open, 0)) })
	t.Run("Errors", func(t *testing.T) { testErrors(start(t, open, 0)) })
}

// suite is a driver in a test.
type suite struct {
	testing.TB
	Driver
}

func start(tb testing.TB, open Opener, shift uint32) suite {
	tb.Helper()
	return suite{tb, open(tb, testenv.Scratch(tb, testenv.Ext4)+"/graph", shift)}
}

func (s suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// create makes a layer and has do edit it.
func (s suite) create(id, parent string, do func(dir string)) {
	s.Helper()
	s.must(s.Create(id, parent))
	dir, unmount, err := s.Edit(id)
	s.must(err)
	defer func() { s.must(unmount()) }()
	do(dir)
}

// show mounts a layer, "" for nothing, for look.
func (s suite) show(id string, look func(dir string)) {
	s.Helper()
	if id == "" {
		look(s.TempDir())
		return
	}
	dir, unmount, err := s.Mount(id)
	s.must(err)
	defer func() { s.must(unmount()) }()
	look(dir)
}

// archive reads a diff to its end.
func (s suite) archive(id, parent string) []byte {
	s.Helper()
	r, err := s.Diff(id, parent)
	s.must(err)
	b, err := io.ReadAll(r)
	s.must(err)
	s.must(r.Close())
	return b
}

// reference returns the changes between two layers as the reference differ sees them.
func (s suite) reference(id, parent string) (changes []refdiff.Change) {
	s.Helper()
	s.show(parent, func(old string) {
		s.show(id, func(view string) {
			var err error
			changes, err = refdiff.Diff(old, view)
			s.must(err)
		})
	})
	return changes
}

// checkChanges compares changes with the reference.
func (s suite) checkChanges(id, parent string) {
	s.Helper()
	kinds := map[string]diff.Kind{"add": diff.Add, "modify": diff.Modify, "delete": diff.Delete}
	reference := s.reference(id, parent)
	slices.SortFunc(reference, func(a, b refdiff.Change) int { return diff.ComparePaths(a.Path, b.Path) })
	var want []string
	for c := range diff.WithParents(func(yield func(diff.Change, error) bool) {
		for _, c := range reference {
			if !yield(diff.Change{Kind: kinds[c.Kind], Path: c.Path}, nil) {
				return
			}
		}
	}) {
		want = append(want, line(c.Kind, c.Path))
	}
	got, err := s.Changes(id, parent)
	s.must(err)
	if d := cmp.Diff(want, got); d != "" {
		s.Errorf("changes from %q to %q (-reference +driver):\n%s", parent, id, d)
	}
}

// line is a change as [Driver] has it.
func line(kind diff.Kind, path string) string { return fmt.Sprintf("%c %s", kind.Letter(), path) }

// checkSize compares the size with the reference.
func (s suite) checkSize(id, parent string) {
	s.Helper()
	s.show(parent, func(old string) {
		s.show(id, func(view string) {
			want, err := refdiff.Size(old, view)
			s.must(err)
			got, err := s.DiffSize(id, parent)
			s.must(err)
			if got != want {
				s.Errorf("size from %q to %q is %d, want %d", parent, id, got, want)
			}
		})
	})
}

// replay applies the diff from parent to id to a new layer over the layer on, and
// compares what that shows.
func (s suite) replay(id, parent, on string) {
	s.Helper()
	again := strings.Join([]string{id, "of", parent, "on", on}, "-")
	s.must(s.Create(again, on))
	archive := s.archive(id, parent)
	size, err := s.ApplyDiff(again, parent, bytes.NewReader(archive))
	s.must(err)
	if want, err := s.DiffSize(id, parent); err != nil || size != want && on == parent {
		s.Errorf("%s: applied %d bytes, the size of the diff is %d, error %v", again, size, want, err)
	}
	for _, c := range s.reference(again, id) {
		s.Errorf("%s: %s differs from what was diffed: %s %q", again, c.Path, c.Kind, c.What)
	}
	s.checkLinks(again, id, archive)
}
