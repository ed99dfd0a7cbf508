package difftest

import (
	"context"
	"fmt"
	"iter"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// refEngine answers with what the reference says. It proves the suite: all of
// its own comparisons must hold, and the tables must be right.
type refEngine struct {
	old, new string
	refuse   error
}

func openRef(_ context.Context, tb testing.TB, s diff.Stack) (diff.Engine, error) {
	// The empty layer is on top: in the lowest one, some marks are not read.
	lower := testenv.Overlay{Lower: []string{tb.TempDir()}, Data: s.Data}
	for _, path := range s.Lower {
		if m, ok := s.Owners[path]; ok && !m.IsZero() {
			var ids []string
			for _, r := range m.Users {
				ids = append(ids, fmt.Sprintf("%d:%d:%d", r.Container, r.Host, r.Size))
			}
			mapped, err := testenv.TryIDMapped(tb, path, strings.Join(ids, ","))
			if err != nil {
				return nil, err
			}
			path = mapped
		}
		lower.Lower = append(lower.Lower, path)
	}
	switch {
	case s.Features.UserXattr:
		lower.Options = "userxattr"
	case s.Features.Metacopy:
		lower.Options = "metacopy=on"
	case s.Features.RedirectFollow:
		lower.Options = "redirect_dir=on"
	}
	return &refEngine{old: testenv.Mount(tb, lower), new: s.Mountpoint}, nil
}

func (e *refEngine) Name() string { return "fake" }

func (e *refEngine) Close() error { return nil }

func (e *refEngine) Changes(ctx context.Context, _ diff.Options) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
		if e.refuse != nil {
			yield(diff.Change{}, e.refuse)
			return
		}
		changes, err := refdiff.Diff(e.old, e.new)
		for _, c := range changes {
			if ctx.Err() != nil {
				break
			}
			change, err := e.convert(c)
			if !yield(change, err) || err != nil {
				return
			}
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(diff.Change{}, err)
		}
	}
}

func (e *refEngine) convert(c refdiff.Change) (diff.Change, error) {
	kind, _ := diff.ParseKind(c.Kind)
	typ, _ := diff.ParseType(c.Type)
	what, err := diff.ParseWhat(c.What)
	if err != nil {
		return diff.Change{}, err
	}
	root := e.new
	if kind == diff.Delete {
		root = e.old
	}
	info, err := os.Lstat(root + c.Path)
	if err != nil {
		return diff.Change{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	entry := diff.Entry{
		Type: typ, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Size: c.Size,
		Mtime:  diff.Time{Sec: int64(st.Mtim.Sec), Nsec: uint32(st.Mtim.Nsec)},
		Inode:  diff.Inode{Dev: st.Dev, Ino: st.Ino},
		Nlinks: uint32(st.Nlink),
	}
	if typ == diff.Char || typ == diff.Block {
		entry.Rdev = st.Rdev
	}
	return diff.Change{Kind: kind, What: what, Path: c.Path, Entry: entry}, nil
}

func TestRun(t *testing.T) { Run(t, openRef) }

func TestRunRandom(t *testing.T) {
	refuse := func(ctx context.Context, tb testing.TB, s diff.Stack) (diff.Engine, error) {
		if strings.HasSuffix(s.Lower[0], "0") {
			return nil, &diff.UnsupportedError{Op: "test", Reason: "one layer only"}
		}
		return &refEngine{refuse: &diff.UnsupportedError{Op: "test", Reason: "refuses in the walk"}}, nil
	}
	RunRandom(t, RandomOptions{Cases: len(allMounts)}, map[string]Opener{"fake": openRef, "refuses": refuse})
}
