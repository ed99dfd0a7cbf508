package native

import "github.com/overlaydiff/overlaydiff/internal/inode"

// object is what a view shows at a name.
type object struct {
	meta  *inode.Ref // has the metadata
	layer int        // that has meta; 0: the upper, or the index
	data  *inode.Ref // has the content; differs from meta for a metacopy file
	blob  string     // has the content instead: an absolute path in the data-only layers, to which data redirects
	dirs  merged     // of a directory
	// own: of a directory; the kernel's inode is not that of the lower directory.
	own bool
}

// sameContent reports whether both have their content from one inode, or from
// one place in the data-only layers.
func (o *object) sameContent(p *object) bool {
	return o.blob == p.blob && (o.blob != "" || o.data.Same(p.data))
}

func (o *object) ref() *inode.Ref {
	if o == nil {
		return nil
	}
	return o.meta
}

// arena hands out values that live until it is reset, and uses them again.
type arena[T any] struct {
	all  []*T
	used int
}

func (a *arena[T]) new() *T {
	if a.used == len(a.all) {
		a.all = append(a.all, new(T))
	}
	a.used++
	return a.all[a.used-1]
}

func (a *arena[T]) reset() {
	var zero T
	for _, v := range a.all[:a.used] {
		*v = zero
	}
	a.used = 0
}

func (l *lookup) newObject(up *probe, upMeta bool, hits []*probe, blob string) *object {
	top := up
	if top == nil {
		if len(hits) == 0 {
			return nil
		}
		top = hits[0]
	}
	o := l.objects.new()
	o.meta, o.data, o.layer = &top.ref, &top.ref, top.layer
	switch {
	case top.ref.IsDir():
		if up != nil {
			o.dirs.upper = up.child()
		}
		for _, h := range hits {
			o.dirs.lowers = append(o.dirs.lowers, part{layer: h.layer, dir: h.child()})
		}
		o.own = up == nil || len(hits) == 0 || l.features.NFSExport && !up.indexed
	case up != nil && !upMeta:
	case blob != "":
		o.data, o.blob = &last(up, hits).ref, blob
	default:
		o.data = &last(up, hits).ref
	}
	return o
}
