package views

import (
	"context"
	"fmt"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
)

// Views is the old and the new view of one tree, opened for one question. D is a
// directory of both views, N a name in it. Views is safe for concurrent use.
type Views[D any, N fmt.Stringer] interface {
	// Root returns the root of the views.
	Root() D
	// Name returns a name to look up whether or not a directory lists it. The name ""
	// in the root stands for the root itself.
	Name(name string) N
	// Names lists, in order, the names of dir at which the views can differ.
	Names(ctx context.Context, dir *D) ([]N, error)
	// Enter begins to look up names of dir, in one goroutine.
	Enter(dir *D) Lookup[D, N]
	// Layers returns what the lookups met in each layer, if [Question.One] is set. It
	// returns an empty list if the views are not made of layers.
	Layers() ([]diff.LayerAt, error)
}

// Lookup looks up names of one directory, one after the other.
type Lookup[D any, N fmt.Stringer] interface {
	// Lookup fills in what the views show at name. What v refers to is valid until the
	// next call.
	Lookup(name N, v *Visit[D]) error
	// Payload reads what the old or the new view showed at the last name, which it must
	// have shown. The payload is valid until the pool is closed.
	Payload(inNew bool) diff.Payload
	// Leave ends the lookups.
	Leave()
}

// Question is what views are opened for.
type Question struct {
	diff.Options
	Want *diff.Want // of [diff.Carrier]; nil if nothing is to be carried
	One  bool       // one path is looked up; no directory is listed
}

// Open opens views. Their descriptors are from pool and live as long.
type Open[D any, N fmt.Stringer] func(ctx context.Context, pool *fswalk.Pool, q Question) (Views[D, N], error)

// Visit is what the two views show at one name, and what follows from it.
type Visit[D any] struct {
	inode.Pair // Old, New: nil if the view has no such name
	Met[D]
	Change diff.Change // Kind 0: none
	// Below is whether the walk goes on in Child. A visitor may change it.
	Below bool
	// Hides is inherited from the directory, for the visitor to set in its children.
	Hides bool

	dir     string // the path of the directory
	name    string
	payload interface{ Payload(inNew bool) diff.Payload }
}

// Met is what an engine knows of a name beside the two inodes.
type Met[D any] struct {
	// Child is the directory at the name: in both views, or in one of them.
	Child D
	// Was is the old view's inode, as of [diff.Item].
	Was diff.Inode
	// Proven: the two inodes are equal in everything.
	Proven bool
	// Listed: the listings alone prove that the entry is one and the same in both
	// views, and Pair is empty.
	Listed bool
	// Absent: the name was listed, and the lookup does not find it.
	Absent bool
	// Lower, Uncounted and Opaque are as of [diff.Item].
	Lower, Uncounted, Opaque bool
	// Own: the new view's metadata and content are both in the upper layer's inode.
	Own bool
}

// Path returns the path of the visited name.
func (v *Visit[D]) Path() string { return diff.Join(v.dir, v.name) }

// Payload is [Lookup.Payload] of the visited name.
func (v *Visit[D]) Payload(inNew bool) diff.Payload { return v.payload.Payload(inNew) }

// lookup looks a name up.
func lookup[D any, N fmt.Stringer](l Lookup[D, N], name N, v *Visit[D]) error {
	v.Old, v.New, v.Extents, v.Data = nil, nil, false, nil
	v.Met, v.Change, v.Below = Met[D]{}, diff.Change{}, false
	v.name, v.payload = name.String(), l
	return l.Lookup(name, v)
}

// compare finds the change. It is the only place that does.
func (v *Visit[D]) compare() (err error) {
	switch {
	case v.Old == nil && v.New == nil:
	case v.New == nil:
		v.Change = diff.Change{Kind: diff.Delete, Path: v.Path(), Entry: v.Old.Entry()}
	case v.Old == nil:
		v.Change = diff.Change{Kind: diff.Add, Path: v.Path(), Entry: v.New.Entry()}
	case v.Proven:
	default:
		var what diff.What
		if what, err = v.Compare(); err == nil && what != 0 {
			v.Change = diff.Change{Kind: diff.Modify, What: what, Path: v.Path(), Entry: v.New.Entry()}
		}
	}
	return err
}
