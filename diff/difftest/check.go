package difftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// answer is what the reference says of two views.
type answer struct {
	changes []refdiff.Change
	size    int64
}

// reference asks for the changes in the mount as the operations left it, and
// for their size, which depends on inode numbers, after the kernel has forgotten
// its inodes.
func reference(v *views) (a answer, err error) {
	if a.changes, err = refdiff.Diff(v.old, v.new); err != nil {
		return a, err
	}
	if err := forgetInodes(v.new); err != nil {
		return a, err
	}
	a.size, err = refdiff.Size(v.old, v.new)
	return a, err
}

// forgetInodes has the kernel forget the inodes of an overlay. Until then two names
// of a copied-up inode without an origin, as userxattr leaves symbolic links, may have
// different numbers: the first keeps that of the lower inode (seen on 6.18).
func forgetInodes(mountpoint string) error {
	const remount = syscall.MS_REMOUNT | syscall.MS_NODEV // drops the mount's cached names
	if err := syscall.Mount("overlay", mountpoint, "overlay", remount, ""); err != nil {
		return &os.PathError{Op: "remount", Path: mountpoint, Err: err}
	}
	return nil
}

// reading returns the answer of who reads contents when content says, and the
// changes of a which that misses or tells in part: without reading, files of
// one size have one content.
func (a answer) reading(content diff.Content, v *views) (b answer, missed []refdiff.Change, err error) {
	if content != diff.ContentNever {
		return a, nil, nil
	}
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	for _, c := range a.changes {
		if slices.Contains(c.What, "content") && !slices.Contains(c.What, "size") {
			missed = append(missed, c)
			c.What = slices.DeleteFunc(slices.Clone(c.What), func(what string) bool { return what == "content" })
			if len(c.What) == 0 {
				continue
			}
		}
		b.changes = append(b.changes, c)
		if c.Kind == "delete" || c.Type == "dir" {
			continue
		}
		st, err := lstat(v.new + c.Path)
		if err != nil {
			return b, nil, err
		}
		if id := (inode{uint64(st.Dev), st.Ino}); !seen[id] {
			seen[id] = true
			b.size += c.Size
		}
	}
	return b, missed, nil
}

// lines returns the changes as the tables write them: "C /path what,what".
func lines(changes []refdiff.Change) []string {
	var all []string
	for _, c := range changes {
		line := map[string]string{"add": "A", "modify": "C", "delete": "D"}[c.Kind] + " " + diff.QuotePath(c.Path)
		if len(c.What) > 0 {
			line += " " + strings.Join(c.What, ",")
		}
		all = append(all, line)
	}
	return all
}

// plain turns an engine's change into the reference's form.
func plain(c diff.Change) refdiff.Change {
	p := refdiff.Change{Kind: c.Kind.String(), Path: c.Path, Type: c.Entry.Type.String(), Size: c.Entry.Size}
	if c.What != 0 {
		p.What = c.What.Names()
	}
	return p
}

func collect(ctx context.Context, e diff.Engine, opts diff.Options) ([]diff.Change, error) {
	var all []diff.Change
	for c, err := range e.Changes(ctx, opts) {
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	return all, nil
}

// checkAnswer compares the engine's changes and their size with what is wanted.
// The error matches diff.ErrUnsupported if the engine refuses.
func checkAnswer(ctx context.Context, e diff.Engine, v *views, want answer, opts diff.Options) error {
	changes, err := collect(ctx, e, opts)
	if err != nil {
		return err
	}
	got := make([]refdiff.Change, len(changes))
	for i, c := range changes {
		got[i] = plain(c)
	}
	if !slices.EqualFunc(want.changes, got, func(a, b refdiff.Change) bool { return cmp.Equal(a, b) }) {
		return fmt.Errorf("changes (-reference +%s):\n%s", e.Name(), cmp.Diff(want.changes, got))
	}
	for i := 1; i < len(changes); i++ {
		if a, b := changes[i-1].Path, changes[i].Path; diff.ComparePaths(a, b) >= 0 {
			return fmt.Errorf("%q is followed by %q", a, b)
		}
	}
	size, err := diff.Size(ctx, e, opts)
	if err != nil {
		return fmt.Errorf("size: %w", err)
	}
	if size != want.size {
		return fmt.Errorf("size of the diff is %d, want %d", size, want.size)
	}
	return checkEntries(changes, v)
}

// checkEntries compares the entries with what stat says in the mounts, and the
// names that share an Inode with those that share one there.
func checkEntries(changes []diff.Change, v *views) error {
	type inode struct{ dev, ino uint64 }
	inMount, inEngine := map[inode]string{}, map[diff.Inode]string{} // inode → its first path
	for _, c := range changes {
		root := v.new
		if c.Kind == diff.Delete {
			root = v.old
		}
		st, err := lstat(root + c.Path)
		if err != nil {
			return err
		}
		want := diff.Entry{
			Type: c.Entry.Type, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Size: c.Entry.Size,
			Mtime: diff.Time{Sec: int64(st.Mtim.Sec), Nsec: uint32(st.Mtim.Nsec)}, Inode: c.Entry.Inode, Nlinks: c.Entry.Nlinks,
		}
		switch c.Entry.Type {
		case diff.Char, diff.Block:
			want.Rdev = uint64(st.Rdev)
		case diff.Symlink:
			want.Mode = c.Entry.Mode
		}
		if d := cmp.Diff(want, c.Entry); d != "" {
			return fmt.Errorf("entry of %s (-stat +engine):\n%s", c, d)
		}
		if c.Kind == diff.Delete || c.Entry.Type == diff.Dir || c.Entry.Nlinks < 2 {
			continue
		}
		id := inode{uint64(st.Dev), st.Ino}
		a, linked := inMount[id]
		b, says := inEngine[c.Entry.Inode]
		if linked != says || a != b {
			return fmt.Errorf("%s is a hard link of %q, the engine says of %q", c, a, b)
		}
		if !linked {
			inMount[id], inEngine[c.Entry.Inode] = c.Path, c.Path
		}
	}
	return nil
}

func lstat(path string) (*syscall.Stat_t, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return info.Sys().(*syscall.Stat_t), nil
}

// checkContract checks what every engine promises, whatever the answer is. With
// races it tolerates reports of races, though nothing runs.
func checkContract(ctx context.Context, e diff.Engine, races bool) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	var first []diff.Change
	for _, workers := range []int{1, 2, 8} {
		opts := diff.Options{Workers: workers, OnRace: func(path string) error {
			if !races {
				wrong("%d workers: a race at %q, where nothing runs", workers, path)
			}
			return nil
		}}
		got, err := collect(ctx, e, opts)
		if err != nil {
			wrong("%d workers: %w", workers, err)
		}
		if workers == 1 {
			first = got
		} else if d := cmp.Diff(first, got); d != "" {
			wrong("changes (-1 worker +%d workers):\n%s", workers, d)
		}
	}
	if err := checkKinds(ctx, e, first); err != nil {
		wrong("only kinds: %w", err)
	}
	for stop := 1; stop <= min(len(first), 3); stop++ {
		before, k := testenv.TakeInventory(), 0
		for _, err := range e.Changes(ctx, diff.Options{Workers: 4}) {
			if k++; k == stop || err != nil {
				break
			}
		}
		if err := before.Leaks(); err != nil {
			wrong("broken off after %d of %d changes: %w", stop, len(first), err)
		}
	}
	return errors.Join(append(errs, checkCancel(ctx, e))...)
}

// checkKinds checks that [diff.Options.Kinds] takes nothing from the changes but
// some of what differs.
func checkKinds(ctx context.Context, e diff.Engine, all []diff.Change) error {
	got, err := collect(ctx, e, diff.Options{Kinds: true})
	if err != nil {
		return err
	}
	if len(got) != len(all) {
		return fmt.Errorf("%d changes, not %d", len(got), len(all))
	}
	for i, c := range got {
		if what := all[i].What; c.What&^what != 0 || what != 0 && c.What == 0 {
			return fmt.Errorf("%v differs in %v, of %v", c, c.What, what)
		}
		if c.What = all[i].What; c != all[i] {
			return fmt.Errorf("%+v, not %+v", c, all[i])
		}
	}
	return nil
}

func checkCancel(ctx context.Context, e diff.Engine) error {
	var errs []error
	before := testenv.TakeInventory()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, err := range e.Changes(ctx, diff.Options{}) {
		if err != nil {
			// None is right too: the walk may have been over by the first change.
			if !errors.Is(err, context.Canceled) {
				errs = append(errs, fmt.Errorf("cancelled at the first change: %w", err))
			}
			break
		}
		cancel()
	}
	cancel()
	if changes, err := collect(ctx, e, diff.Options{}); !errors.Is(err, context.Canceled) {
		errs = append(errs, fmt.Errorf("cancelled before: error %v and %d changes, want context.Canceled", err, len(changes)))
	}
	if err := before.Leaks(); err != nil {
		errs = append(errs, fmt.Errorf("cancelled: %w", err))
	}
	return errors.Join(errs...)
}
