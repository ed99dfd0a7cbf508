package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/diff"
)

// Copies is what differs between two trees that have nothing in common, as the
// copies of a scene that [Copy] makes.
func Copies() bench.Task {
	return bench.Task{Name: "Copies", Compare: bench.CompareChanges, Subjects: []bench.Subject{
		{Name: "overlaydiff-naive", Run: treeChanges(diff.ContentAuto)},
		{Name: "overlaydiff-naive-never", Run: treeChanges(diff.ContentNever)},
		{Name: "continuity.Changes", Run: continuityChanges},
		{Name: "moby.ChangesDirs", Run: mobyChanges},
		limit("floor-walk-1-thread", walkFloor(1)),
		limit("floor-walk-2-threads", walkFloor(2)),
	}}
}

// rewritten is a file that differs in content alone.
const rewritten = "rewritten"

// Copy returns a scene of two full copies: of the old view, and of the new one.
// There is one change more: a file was rewritten in its size and had its time,
// which is no whole second, set back.
func Copy(s *bench.Scene) (*bench.Scene, error) {
	c := &bench.Scene{Scenario: s.Scenario, Scratch: s.Scratch, Old: filepath.Join(s.Scratch, "old")}
	c.Stack.Mountpoint = filepath.Join(s.Scratch, "new")
	mtime := time.Unix(1_700_000_000, 500_000_000)
	for to, from := range map[string]string{c.Old: s.Old, c.Stack.Mountpoint: s.Stack.Mountpoint} {
		if out, err := exec.Command("cp", "-a", "--reflink=never", from, to).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cp: %w: %s", err, out)
		}
		name := filepath.Join(to, rewritten)
		if err := errors.Join(os.WriteFile(name, []byte(filepath.Base(to)), 0o644), os.Chtimes(name, mtime, mtime)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// treeChanges compares the trees with the naive engine.
func treeChanges(content diff.Content) func(context.Context, *bench.Scene, bench.Visit) (bench.Answer, error) {
	return func(ctx context.Context, s *bench.Scene, visit bench.Visit) (a bench.Answer, err error) {
		d, err := overlaydiff.OpenTrees(ctx, s.Old, s.Stack.Mountpoint, overlaydiff.Options{Content: content})
		if err != nil {
			return a, err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		for c, err := range d.Changes(ctx) {
			if err != nil {
				return a, err
			}
			a.Changes++
			if visit != nil {
				visit(c.Kind.Letter(), c.Path)
			}
		}
		return a, nil
	}
}
