package naive

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/internal/views"
)

// Engine compares two trees. It is a [diff.Engine] and safe for concurrent use.
type Engine struct {
	old, new Tree
	proof    Proof
	overlay  bool      // one of them is on an overlay
	extents  bool      // the trees may share blocks
	devices  [2]uint64 // that their roots are on
	snapshot snapshot
}

// Tree is a directory tree: the descriptor of its root, open for reading, what
// closes it, and a name for messages.
type Tree struct {
	FD     int       // of the root
	Closer io.Closer // of what FD belongs to
	Name   string    // for messages
	// Names is the descriptor of the upper directory of the overlay that the tree is,
	// 0 if there is none: names in it are looked up in the tree although no listing has
	// them, since overlayfs leaves out those that it can't look up.
	Names int
}

// Proof says what counts as proof that two names are one unmodified inode,
// beside equal device and inode numbers.
type Proof uint8

const (
	// ProofNone: nothing else does.
	ProofNone Proof = iota
	// ProofInode: inode numbers of both trees are those of one file system
	// beneath them, so an equal number with equal metadata, change time to the
	// nanosecond included, is the same inode. Inodes with several names are not
	// taken for proven: in an overlay the name decides where the data of a
	// metacopy file is.
	ProofInode
	// ProofListedOnce: besides, both trees are views of the same layers as they
	// are now, and the numbers in their listings are those of the inodes there,
	// each of which has a number of its own. Then what is listed with one number
	// in both is one inode, and equal if it has one name or is in one directory.
	// Directories are still descended.
	ProofListedOnce
	// ProofListed: as ProofListedOnce, and what an inode shows does not depend on
	// the name: there are no metacopy files. Nothing that is listed with one
	// number in both is looked at.
	ProofListed
	// ProofSnapshot: the trees are snapshots of one file system, the new one was
	// made from the old, and the old one was not written since. Then an equal
	// inode number with equal metadata and change time is the same inode, if the
	// change time is older than the snapshot by more than the kernel's clock is
	// coarse; see [snapshot].
	ProofSnapshot
)

// Open returns an engine for two trees, which it closes with itself.
func Open(from, to Tree, proof Proof) *Engine {
	e := &Engine{old: from, new: to, proof: proof, overlay: sys.IsOverlay(from.FD) || sys.IsOverlay(to.FD)}
	e.extents = !e.overlay && sys.SharesExtents(from.FD, to.FD)
	for i, t := range []Tree{from, to} {
		var st sys.Stat
		if sys.UsageAt(t.FD, "", &st) == nil { // else nothing below is on it
			e.devices[i] = st.Dev
		}
	}
	return e
}

// Name returns "naive".
func (*Engine) Name() string { return "naive" }

// Close closes the trees.
func (e *Engine) Close() error {
	return errors.Join(e.old.Closer.Close(), e.new.Closer.Close())
}

// Changes implements [diff.Engine]. It compares every name of both trees.
func (e *Engine) Changes(ctx context.Context, opts diff.Options) iter.Seq2[diff.Change, error] {
	return views.Changes(ctx, opts, e.views)
}

// Carry implements [diff.Carrier].
func (e *Engine) Carry(ctx context.Context, opts diff.Options, want diff.Want, use func(iter.Seq2[diff.Item, error]) error) error {
	return views.Carry(ctx, opts, want, e.views, use)
}

// Explain returns what both trees have at path, and in what that differs. Of layers
// it knows nothing. No proof is relied on: if contents matter, they are read.
//
// See [diff.CleanPath] for the path; one that is in neither tree is no error. Of
// the options it heeds Content and OnRace. What changes faster than it can be
// read is a [diff.RaceError].
func (e *Engine) Explain(ctx context.Context, path string, opts diff.Options) (diff.Explanation, error) {
	return views.Explain(ctx, path, opts, e.views)
}

// Look calls use with what the trees have at path, nil for nothing. Path, options
// and errors are as of [Engine.Explain]; what use returns is returned as it is.
func (e *Engine) Look(ctx context.Context, path string, opts diff.Options, use func(from, to *diff.Seen) error) error {
	return views.Look(ctx, path, opts, e.views, use)
}

// refusal is [inode.Refusal] where there is an overlay.
func (e *Engine) refusal(err error) error {
	if e.overlay {
		return inode.Refusal(err)
	}
	return err
}

// proven reports whether both names are known to lead to one unmodified inode.
func (e *Engine) proven(from, to *inode.Ref) bool {
	if from.Equal(to) {
		return true
	}
	a, b := from.Stat, to.Stat
	a.Dev, b.Dev, a.Mount, b.Mount = 0, 0, 0, 0 // each tree has its own
	switch e.proof {
	case ProofInode, ProofListedOnce, ProofListed:
		return a == b && !from.IsDir() && a.Nlink == 1
	case ProofSnapshot:
		// What is mounted inside a tree is no part of the snapshot.
		return a == b && from.Stat.Dev == e.devices[0] && to.Stat.Dev == e.devices[1] && e.snapshot.covers(from.Stat.Ctime)
	}
	return false
}

// shares reports whether two files may have their data in the same blocks: they
// are where the roots are, not on what is mounted inside.
func (e *Engine) shares(from, to *inode.Ref) bool {
	return e.extents && from.Stat.Dev == e.devices[0] && to.Stat.Dev == e.devices[1]
}

var _ diff.Carrier = (*Engine)(nil)
