package fswalk

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// listing is what List gathers before it knows how much it is.
type listing struct {
	names   []byte // one after the other
	entries []sys.Dirent
	ends    []int // of the names
}

var listings = sync.Pool{New: func() any { return new(listing) }}

// muchListed is how many entries a listing may have and be kept for the next.
const muchListed = 4 * Share

// List returns the entries of d, ordered bytewise by name.
func (d *Dir) List(ctx context.Context) ([]sys.Dirent, error) {
	l, _ := listings.Get().(*listing)
	defer l.free()
	err := d.Visit(ctx, func(entry sys.Dirent) bool {
		l.names = append(l.names, entry.Name...)
		l.ends = append(l.ends, len(l.names))
		l.entries = append(l.entries, sys.Dirent{Ino: entry.Ino, Type: entry.Type})
		return true
	})
	if err != nil || len(l.entries) == 0 {
		return nil, err
	}
	list := slices.Clone(l.entries)
	// One string for all names: an allocation a directory, not an entry.
	all, start := string(l.names), 0
	for i, end := range l.ends {
		list[i].Name, start = all[start:end], end
	}
	w := watch{ctx: ctx}
	slices.SortFunc(list, func(a, b sys.Dirent) int {
		if w.ended() { // all are equal then: what is left to sort takes no time
			return 0
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list, w.err
}

// watch asks a context now and then whether it has ended: a directory of a million
// names takes longer to read and to sort than anybody should have to wait.
type watch struct {
	ctx   context.Context //nolint:containedctx // lives for one listing
	asked uint
	err   error
}

func (w *watch) ended() bool {
	if w.asked++; w.asked%Share == 0 && w.err == nil {
		w.err = w.ctx.Err()
	}
	return w.err != nil
}

func (l *listing) free() {
	if len(l.entries) > muchListed {
		return
	}
	l.names, l.entries, l.ends = l.names[:0], l.entries[:0], l.ends[:0]
	listings.Put(l)
}

// Visit calls visit with every entry of d, see [sys.ReadDir].
func (d *Dir) Visit(ctx context.Context, visit func(entry sys.Dirent) bool) error {
	if d.parent == nil {
		// Other pools may have the same descriptor for their root, and it has one offset.
		own := d.Child(".", 0, 0)
		err := own.visit(ctx, visit)
		d.pool.forget(own)
		return err
	}
	return d.visit(ctx, visit)
}

func (d *Dir) visit(ctx context.Context, visit func(entry sys.Dirent) bool) error {
	w := watch{ctx: ctx}
	return d.Use(func(fd int) error {
		d.listing.Lock()
		defer d.listing.Unlock()
		if d.moved {
			if err := sys.Rewind(fd); err != nil {
				return d.Wrap("lseek", "", err)
			}
		}
		d.moved = true
		err := sys.ReadDir(fd, func(entry sys.Dirent) bool { return !w.ended() && visit(entry) })
		if w.err != nil {
			return w.err
		}
		return d.Wrap("getdents64", "", err)
	})
}
