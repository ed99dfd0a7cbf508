package naive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"slices"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
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
	FD     int
	Closer io.Closer
	Name   string
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
	return inode.Changes(opts, e.walk(ctx, opts, nil))
}

// Carry implements [diff.Carrier].
func (e *Engine) Carry(ctx context.Context, opts diff.Options, want diff.Want, use func(iter.Seq2[diff.Item, error]) error) error {
	return inode.Carry(opts, e.walk(ctx, opts, &want), use)
}

// walk compares the trees; nil wants nothing but changes.
func (e *Engine) walk(ctx context.Context, opts diff.Options, want *diff.Want) func(*fswalk.Pool) iter.Seq2[inode.Found, error] {
	return func(pool *fswalk.Pool) iter.Seq2[inode.Found, error] {
		if e.proof == ProofSnapshot {
			if err := e.snapshot.date(ctx, e, pool, opts.Workers); err != nil {
				return func(yield func(inode.Found, error) bool) { yield(inode.Found{}, err) }
			}
		}
		root := node{old: pool.Root(e.old.FD, e.old.Name), new: pool.Root(e.new.FD, e.new.Name)}
		if e.new.Names > 0 {
			root.names = pool.Root(e.new.Names, "upper directory")
		}
		w := &walk{Engine: e, opts: opts, want: want, links: numbers(want)}
		return fswalk.Ordered(ctx, opts.Workers, root, w.expand)
	}
}

// walk is one comparison.
type walk struct {
	*Engine
	opts  diff.Options
	want  *diff.Want
	links map[uint64]struct{} // the numbers of the inodes whose names are wanted
}

// node is a directory in the new tree, with the old tree's directory of that
// path or nil.
type node struct {
	at       *inode.Path
	path     string // at as a string, while the node is expanded
	old, new *fswalk.Dir
	names    *fswalk.Dir // has more names to look up; nil: none
	// same: they are one directory of the layers, by the listing alone, so nothing
	// of it is in the upper layer. Its inode number was not asked for.
	same bool
	// some of the entries, which this node is about; nil: all that there are.
	some []entry
}

type items = fswalk.Items[node, inode.Found]

// entry is one name as the old and the new directory list it; nil: not at all.
type entry struct {
	old, new *sys.Dirent
	more     *sys.Dirent // as the node's names have it; nil: not at all
}

func (e entry) name() string {
	switch {
	case e.old != nil:
		return e.old.Name
	case e.new != nil:
		return e.new.Name
	}
	return e.more.Name
}

// expand compares what two directories have.
func (e *walk) expand(ctx context.Context, n node, out *items) error {
	n.path = n.at.String()
	entries, err := n.some, error(nil)
	if entries == nil {
		entries, err = e.list(ctx, n)
	}
	if inode.Vanished(err) && n.path != "/" {
		out.Value(inode.Race(n.path))
		return nil
	}
	if err != nil {
		return inode.Fail(out, n.path, e.refusal(err))
	}
	if len(entries) > fswalk.Share {
		for part := range slices.Chunk(entries, fswalk.Share) {
			n.some = part
			out.Child(n)
		}
		return nil
	}
	var absent []string
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.listedSame(n, entry) {
			if entry.old.Type == sys.TypeDir {
				e.descend(n, entry.old.Name, out)
			}
			continue
		}
		v := visit{walk: e, ctx: ctx, node: n, entry: entry}
		if err := v.run(out); err != nil {
			return err
		}
		if v.absent {
			absent = append(absent, entry.name())
		}
	}
	return e.reportAbsent(ctx, n, absent, out)
}

// listedSame reports whether an entry is known to be one inode in both trees by the
// listings alone.
func (e *walk) listedSame(n node, both entry) bool {
	from, to := both.old, both.new
	if e.opts.Content == diff.ContentAlways {
		return false
	}
	if e.proof != ProofListed && e.proof != ProofListedOnce || from == nil || to == nil ||
		from.Ino != to.Ino || from.Type != to.Type || from.Type == sys.TypeUnknown {
		return false
	}
	if _, linked := e.links[to.Ino]; linked {
		return false
	}
	if e.proof == ProofListed || from.Type == sys.TypeDir || n.same {
		return true // in one directory, the name is the same, too
	}
	var st sys.Stat
	return n.new.Stat(to.Name, sys.StatLinks, &st) == nil && st.Nlink == 1
}

// visit compares one name of two directories.
type visit struct {
	walk *walk
	ctx  context.Context //nolint:containedctx // lives for one name
	node node
	entry
	absent bool // listed, but not found
}

func (v *visit) run(out *items) error {
	path := diff.Join(v.node.path, v.name())
	var a inode.Attempt
	var change diff.Change
	var carried *inode.Carried
	var child *node
	var err error
	for again := true; again; again = a.Again(err) {
		change, carried, child, err = v.compare(path)
	}
	return inode.Report(out, path, a.Raced, &change, carried, child, err)
}

func (v *visit) compare(path string) (change diff.Change, carried *inode.Carried, child *node, err error) {
	from, err := v.lookup(v.node.old, v.entry.old)
	if err != nil {
		return change, nil, nil, err
	}
	to, err := v.lookup(v.node.new, v.entry.new)
	if err != nil {
		return change, nil, nil, err
	}
	change, err = inode.Classify(path, from, to, func() (diff.What, error) {
		if from.Equal(to) || v.walk.opts.Content != diff.ContentAlways && v.walk.proven(from, to) {
			return 0, nil
		}
		return v.walk.pair(v.ctx, from, to).Compare()
	})
	if err == nil && to != nil && to.IsDir() {
		child = &node{at: v.node.at.Child(v.name()), new: to.Child()}
		if from != nil && from.IsDir() {
			child.old = from.Child()
		}
		if m := v.entry.more; m != nil && m.Type == sys.TypeDir {
			child.names = v.node.names.Child(m.Name, 0, 0)
		}
	}
	if err == nil && v.walk.want != nil {
		carried = v.walk.carry(&change, from, to, child != nil)
	}
	return change, carried, child, err
}

func (e *walk) pair(ctx context.Context, from, to *inode.Ref) inode.Pair {
	return inode.Pair{
		Ctx: ctx, Old: from, New: to, PastSize: e.overlay, Extents: e.shares(from, to),
		Content: e.opts.Content, Kinds: e.opts.Kinds,
	}
}

// lookup returns what a listed name leads to, nil if nothing.
// An overlay's listing may lack names at which the lookup fails (ovl_cache_update of
// Linux 6.18 takes them for whiteouts), so there a name that the other tree lists is
// looked up as well.
func (v *visit) lookup(dir *fswalk.Dir, listed *sys.Dirent) (*inode.Ref, error) {
	if dir == nil || listed == nil && !v.walk.overlay {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	ref := &inode.Ref{Dir: dir, Name: v.name()}
	switch err := dir.Stat(ref.Name, sys.StatAll, &ref.Stat); {
	case err == nil:
		return ref, nil
	case errors.Is(err, fs.ErrNotExist), listed == nil && errors.Is(err, syscall.ENAMETOOLONG):
		v.absent = v.absent || listed != nil
		return nil, nil //nolint:nilnil // as above
	default:
		return nil, v.walk.refusal(err)
	}
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
