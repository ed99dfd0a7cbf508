package naive

import (
	"context"
	"errors"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// reportAbsent tells names that vanished from those that overlayfs lists but
// has not: it passes the listing of a directory that only one layer has through
// as it is, whiteouts included.
func (e *walk) reportAbsent(ctx context.Context, n node, absent []string, out *items) error {
	if len(absent) == 0 {
		return nil
	}
	listed := map[string]bool{}
	entries, err := e.list(ctx, n)
	if err != nil && !inode.Vanished(err) {
		return err
	}
	for _, entry := range entries {
		listed[entry.name()] = true
	}
	for _, name := range absent {
		if !listed[name] {
			out.Value(inode.Race(diff.Join(n.path, name)))
		}
	}
	return nil
}

// list returns what is in both directories, in order.
func (e *walk) list(ctx context.Context, n node) ([]entry, error) {
	if n.same {
		if err := errors.Join(identify(n.old), identify(n.new)); err != nil {
			return nil, err
		}
	}
	var a, b []sys.Dirent
	var err error
	if n.old != nil {
		if a, err = e.listing(ctx, n.old); err != nil {
			return nil, err
		}
	}
	if b, err = e.listing(ctx, n.new); err != nil {
		return nil, err
	}
	more, err := n.more(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, max(len(a), len(b)))
	for len(a)+len(b)+len(more) > 0 {
		name := ""
		for _, list := range [][]sys.Dirent{a, b, more} {
			if len(list) > 0 && (name == "" || list[0].Name < name) {
				name = list[0].Name
			}
		}
		both := entry{old: next(&a, name), new: next(&b, name), more: next(&more, name)}
		entries = append(entries, both)
	}
	return entries, nil
}

// next takes the entry of that name off a list, if it begins with it.
func next(list *[]sys.Dirent, name string) *sys.Dirent {
	if len(*list) == 0 || (*list)[0].Name != name {
		return nil
	}
	first := &(*list)[0]
	*list = (*list)[1:]
	return first
}

// more lists names that are looked up in any case. A directory that is not there has
// none.
func (n node) more(ctx context.Context) ([]sys.Dirent, error) {
	if n.names == nil {
		return nil, nil
	}
	list, err := n.names.List(ctx)
	if inode.Vanished(err) {
		return nil, nil
	}
	return list, err
}

// listing lists a directory.
func (e *walk) listing(ctx context.Context, d *fswalk.Dir) ([]sys.Dirent, error) {
	if e.overlay {
		return inode.List(ctx, d)
	}
	return d.List(ctx)
}

// identify tells a directory, by its descriptor, which inode it is.
func identify(d *fswalk.Dir) error {
	return d.Use(func(fd int) error {
		var st sys.Stat
		err := sys.StatAt(fd, "", sys.StatInode, &st)
		if err == nil {
			d.Identify(st.Dev, st.Ino)
		}
		return d.Wrap("statx", "", err)
	})
}
