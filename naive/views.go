package naive

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/internal/views"
)

// view is the two trees as views, for one question: a [views.Views].
type view struct {
	*Engine
	root    dir
	one     bool // nothing is listed: what is asked for is looked up in both trees
	content diff.Content
	proof   Proof               // that may be relied on
	links   map[uint64]struct{} // the numbers of the inodes whose names are wanted
	lookups sync.Pool           // of *lookup, one for each directory that is walked
}

// dir is a directory of either tree, nil where the tree has none.
type dir struct {
	old, new *fswalk.Dir
	names    *fswalk.Dir // has more names to look up; nil: none
	// same: they are one directory of the layers, by the listing alone, so nothing
	// of it is in the upper layer. Its inode number was not asked for.
	same bool
}

// views implements [views.Open].
func (e *Engine) views(ctx context.Context, pool *fswalk.Pool, q views.Question) (views.Views[dir, entry], error) {
	w := &view{Engine: e, content: q.Content, proof: e.proof, links: numbers(q.Want), one: q.One}
	if q.One {
		w.proof = ProofNone
	}
	if w.proof == ProofSnapshot {
		if err := e.snapshot.date(ctx, e, pool, q.Workers); err != nil {
			return nil, err
		}
	}
	w.root = dir{old: pool.Root(e.old.FD, e.old.Name), new: pool.Root(e.new.FD, e.new.Name)}
	if e.new.Names > 0 {
		w.root.names = pool.Root(e.new.Names, "upper directory")
	}
	return w, nil
}

// numbers returns the numbers of the inodes whose names are wanted.
func numbers(want *diff.Want) map[uint64]struct{} {
	if want == nil || want.Links == nil {
		return nil
	}
	links := make(map[uint64]struct{}, len(want.Links))
	for id := range want.Links {
		links[id.Ino] = struct{}{}
	}
	return links
}

// Root implements [views.Views].
func (w *view) Root() dir { return w.root }

// Name implements [views.Views].
func (w *view) Name(name string) entry { return entry{more: &sys.Dirent{Name: name}} }

// Layers implements [views.Views]: of layers the trees know nothing.
func (w *view) Layers() ([]diff.LayerAt, error) { return []diff.LayerAt{}, nil }

// Enter implements [views.Views].
func (w *view) Enter(d *dir) views.Lookup[dir, entry] {
	l, _ := w.lookups.Get().(*lookup)
	if l == nil {
		l = &lookup{}
	}
	l.view, l.dir = w, d
	return l
}

// lookup looks up the names of two directories.
type lookup struct {
	*view
	dir      *dir
	from, to inode.Ref // what the last name leads to, if anything
}

// Leave implements [views.Lookup].
func (l *lookup) Leave() {
	w := l.view
	*l = lookup{}
	w.lookups.Put(l)
}

// Payload implements [views.Lookup].
func (l *lookup) Payload(inNew bool) diff.Payload {
	p := &inode.Payload{Ref: l.from, PastSize: l.overlay}
	if inNew {
		p.Ref = l.to
	}
	return p
}

// Lookup implements [views.Lookup].
func (l *lookup) Lookup(e entry, v *views.Visit[dir]) (err error) {
	if l.listedSame(e) {
		v.Listed = true
		if e.old.Type == sys.TypeDir {
			l.to = inode.Ref{Dir: l.dir.new, Name: e.new.Name}
			v.Child = dir{same: true, old: l.dir.old.Child(e.old.Name, 0, 0), new: l.dir.new.Child(e.old.Name, 0, 0)}
			v.Below = true
		}
		return nil
	}
	if v.Old, err = l.find(&l.from, l.dir.old, e, e.old != nil, &v.Absent); err != nil {
		return err
	}
	if v.New, err = l.find(&l.to, l.dir.new, e, e.new != nil, &v.Absent); err != nil {
		return err
	}
	if v.Old != nil {
		v.Child.old, v.Was = l.child(v.Old), l.was(v.Old, v.New)
	}
	if v.New != nil {
		v.Child.new = l.child(v.New)
		v.Below = v.New.IsDir()
	}
	if e.more != nil && e.more.Type == sys.TypeDir {
		v.Child.names = l.dir.names.Child(e.more.Name, 0, 0)
	}
	if v.Old != nil && v.New != nil {
		v.Proven = v.Old.Equal(v.New) || l.content != diff.ContentAlways && l.proven(v.Old, v.New)
		v.PastSize, v.Extents = l.overlay, l.shares(v.Old, v.New)
	}
	return nil
}

// listedSame reports whether an entry is known to be one inode in both trees by the
// listings alone.
func (l *lookup) listedSame(both entry) bool {
	from, to := both.old, both.new
	if l.content == diff.ContentAlways {
		return false
	}
	if l.proof != ProofListed && l.proof != ProofListedOnce || from == nil || to == nil ||
		from.Ino != to.Ino || from.Type != to.Type || from.Type == sys.TypeUnknown {
		return false
	}
	if _, linked := l.links[to.Ino]; linked {
		return false
	}
	if l.proof == ProofListed || from.Type == sys.TypeDir || l.dir.same {
		return true // in one directory, the name is the same, too
	}
	var st sys.Stat
	return l.dir.new.Stat(to.Name, sys.StatLinks, &st) == nil && st.Nlink == 1
}

// find fills in what a name of a directory leads to, and returns ref, or nil if that is
// nothing. absent is set if it is nothing although the name is listed.
//
// An overlay's listing may lack names at which the lookup fails (ovl_cache_update of
// Linux 6.18 takes them for whiteouts), so there a name that the other tree lists is
// looked up as well.
func (l *lookup) find(ref *inode.Ref, d *fswalk.Dir, e entry, listed bool, absent *bool) (*inode.Ref, error) {
	if d == nil || !listed && !l.overlay && !l.one {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	*ref = inode.Ref{Dir: d, Name: e.String()}
	switch err := d.Stat(ref.Name, sys.StatAll, &ref.Stat); {
	case err == nil:
		return ref, nil
	case errors.Is(err, fs.ErrNotExist), !listed && errors.Is(err, syscall.ENAMETOOLONG):
		*absent = *absent || listed
		return nil, nil //nolint:nilnil // as above
	default:
		return nil, l.refusal(err)
	}
}

// child returns the directory that r is, nil if it is none.
func (l *lookup) child(r *inode.Ref) *fswalk.Dir {
	switch {
	case !r.IsDir():
		return nil
	case r.Name == "":
		return r.Dir // the root
	}
	return r.Child()
}

// was returns the inode of the old tree as one of the new tree, of which it has the
// number if there is a proof.
func (w *view) was(from, to *inode.Ref) diff.Inode {
	id := from.ID()
	switch {
	case to == nil, w.proof == ProofNone:
	case w.proof == ProofSnapshot && (from.Stat.Dev != w.devices[0] || to.Stat.Dev != w.devices[1]):
	default:
		id.Dev = to.Stat.Dev // the numbers are those of one file system
	}
	return id
}

// proven reports whether both names are known to lead to one unmodified inode.
func (w *view) proven(from, to *inode.Ref) bool {
	return w.proof != ProofNone && w.Engine.proven(from, to)
}
