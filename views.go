package overlaydiff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/naive"
)

// openNaive opens the naive engine on the two views of a stack, each mounted
// read-only and out of sight for as long as the engine is open.
func openNaive(ctx context.Context, s diff.Stack, opts Options, reason string) (*Diff, error) {
	if s.Upper == "" {
		return nil, &diff.SettingError{
			Setting: diff.SettingUpper, Err: errors.New("mount the views: the stack has no upper directory, so nothing can have been changed; name it"),
		}
	}
	before, err := mountutil.OpenView(ctx, s, mountutil.Old)
	if err != nil {
		return nil, err
	}
	after, proof, err := openNew(ctx, s)
	if err != nil {
		before.Close()
		return nil, err
	}
	upper, err := (&mountutil.Mounts{Opener: s.Opener}).OpenTree(s.Upper)
	if err != nil {
		return nil, errors.Join(err, before.Close(), after.Close())
	}
	to := naiveTree(after, "new view")
	to.Names, to.Closer = upper.FD(), closers{after, upper}
	return newDiff(naive.Open(naiveTree(before, "old view"), to, proof), opts, reason).of(s), nil
}

// closers closes all of them.
type closers []io.Closer

func (c closers) Close() (err error) {
	for _, one := range c {
		err = errors.Join(err, one.Close())
	}
	return err
}

// openNew opens the new view. Where that takes more than the layers, only the
// overlay as it is mounted has it.
func openNew(ctx context.Context, s diff.Stack) (view *mountutil.Tree, proof naive.Proof, err error) {
	if s.Features.NFSExport || len(s.Unknown) > 0 {
		view, err = openMounted(s)
		return view, naive.ProofNone, err
	}
	if err := showsUpper(ctx, s); err != nil {
		if s.Mountpoint == "" || !errors.Is(err, diff.ErrUnsupported) {
			return nil, naive.ProofNone, err
		}
		view, err = openMounted(s)
		return view, naive.ProofNone, err
	}
	view, err = mountutil.OpenView(ctx, s, mountutil.New)
	if errors.Is(err, diff.ErrUnsupported) && s.Mountpoint != "" {
		view, err = openMounted(s)
		return view, naive.ProofNone, err
	}
	if err != nil {
		return nil, naive.ProofNone, err
	}
	return view, proofOf(s), nil
}

// openShown opens what the replayed view has to be equal to: the mount itself, where there
// is one. A second reading of the same directories would not show that they are others.
func openShown(ctx context.Context, s diff.Stack) (*mountutil.Tree, error) {
	if s.Mountpoint != "" {
		return openMounted(s)
	}
	after, _, err := openNew(ctx, s)
	return after, err
}

func openMounted(s diff.Stack) (*mountutil.Tree, error) {
	if s.Mountpoint == "" {
		return nil, &diff.UnsupportedError{
			Op:     "mount the new view",
			Reason: "with nfs_export=on or unknown options what a mount shows is not in the layers alone; mount the overlay and name where it is mounted",
		}
	}
	return (&mountutil.Mounts{Opener: s.Opener}).OpenTree(s.Mountpoint)
}

func naiveTree(t *mountutil.Tree, name string) naive.Tree {
	return naive.Tree{FD: t.FD(), Closer: t, Name: name}
}

// proofOf returns what the inode numbers of views of a stack prove.
func proofOf(s diff.Stack) naive.Proof {
	switch on := mountsOf(s); {
	case !on.sameDevice:
		return naive.ProofNone
	case !on.numbers, !on.sameOwners: // a hard link may have another owner in another layer
		return naive.ProofInode
	case s.Features.Metacopy || len(s.Data) > 0: // where the data is depends on the name, too
		return naive.ProofListedOnce
	}
	return naive.ProofListed
}

// layerMounts is what the layers of a stack have in common.
type layerMounts struct {
	// sameDevice: the inode numbers that read-only overlays of them show are their own.
	sameDevice bool
	numbers    bool // that file system has each number once
	sameOwners bool // one inode has one owner in all of them
}

func mountsOf(s diff.Stack) layerMounts {
	var upper sys.Stat
	on := layerMounts{sameDevice: true, sameOwners: true}
	for i, dir := range append([]string{s.Upper}, s.Lower...) {
		f, err := mountutil.Open(s, dir)
		if err != nil {
			return layerMounts{}
		}
		var st sys.Stat
		if err = sys.StatAt(int(f.Fd()), "", sys.StatAll, &st); err == nil && i == 0 {
			upper, on.numbers = st, sys.NumbersInodes(int(f.Fd()))
		}
		f.Close()
		if err != nil || st.Dev != upper.Dev {
			return layerMounts{}
		}
		on.sameOwners = on.sameOwners && st.Mount == upper.Mount && s.Owners[dir].Equal(s.Owners[s.Upper])
	}
	return on
}

// trees opens the naive engine on two directory trees.
func trees(ctx context.Context, oldDir, newDir string, snapshots bool) (*naive.Engine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := refuseNested(oldDir, newDir); err != nil {
		return nil, err
	}
	before, err := openDir(oldDir)
	if err != nil {
		return nil, err
	}
	after, err := openDir(newDir)
	if err != nil {
		before.Close()
		return nil, err
	}
	proof := naive.ProofNone
	if snapshots {
		proof = naive.ProofSnapshot
		if err := checkSnapshots(before, after); err != nil {
			return nil, errors.Join(err, before.Close(), after.Close())
		}
	}
	tree := func(f *os.File) naive.Tree { return naive.Tree{FD: int(f.Fd()), Closer: f, Name: f.Name()} }
	return naive.Open(tree(before), tree(after), proof), nil
}

// checkSnapshots makes sure that both trees are on copies of one file system.
func checkSnapshots(before, after *os.File) error {
	same, err := sys.SameFileSystem(int(before.Fd()), int(after.Fd()))
	if err == nil && same {
		return nil
	}
	reason := "they are on different file systems, by their UUID"
	if err != nil {
		reason = err.Error()
	}
	return &diff.UnsupportedError{
		Op:     "compare " + diff.QuotePath(before.Name()) + " and " + diff.QuotePath(after.Name()) + " as snapshots",
		Reason: reason + "; compare them as any two trees, without saying that they are snapshots",
	}
}

// openDir opens a tree as a program sees it, with what is mounted inside.
func openDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("compare two trees: %w", err)
	}
	return f, nil
}

// NestedError says that of two trees to compare one is inside the other.
type NestedError struct{ Inner, Outer string }

func (e *NestedError) Error() string {
	return fmt.Sprintf("compare two trees: %s is inside %s; name two trees that stand apart", diff.QuotePath(e.Inner), diff.QuotePath(e.Outer))
}

func refuseNested(oldDir, newDir string) error {
	var real [2]string
	for i, dir := range []string{oldDir, newDir} {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if real[i], err = filepath.EvalSymlinks(abs); err != nil {
			return fmt.Errorf("compare two trees: %w", err)
		}
	}
	switch {
	case within(real[0], real[1]):
		return &NestedError{Inner: oldDir, Outer: newDir}
	case within(real[1], real[0]):
		return &NestedError{Inner: newDir, Outer: oldDir}
	}
	return nil
}

// roomFor returns the directory to unpack in. Without one it is the default for temporary
// files, or, where that is on an overlay and so can't have an upper directory, another one
// for such files, or else where the upper directory of this overlay is, unless another user
// may exchange that.
func (d *Diff) roomFor(dir string) string {
	if dir != "" {
		return dir
	}
	fit := func(dir string) bool {
		f, err := os.Open(dir)
		if err != nil {
			return false
		}
		defer f.Close()
		return !sys.IsOverlay(int(f.Fd())) && sys.IsWritable(int(f.Fd()))
	}
	rooms := []string{os.TempDir(), "/var/tmp", "/run", "/dev/shm"}
	if d.stack.Opener == nil || d.stack.Mountpoint != "" {
		rooms = append(rooms, filepath.Dir(d.stack.Upper))
	}
	for _, dir := range rooms {
		if fit(dir) {
			return dir
		}
	}
	return os.TempDir()
}

// within reports whether inner is below outer; a tree may be compared with itself.
func within(inner, outer string) bool {
	rel, err := filepath.Rel(outer, inner)
	return err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, ".."+string(os.PathSeparator))
}
