package naive

import (
	"context"
	"errors"

	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// entry is one name as the directories list it; nil: not at all.
type entry struct {
	old, new *sys.Dirent
	more     *sys.Dirent // as dir.names lists it, or has only the name, see [view.Name]
}

func (e entry) String() string {
	switch {
	case e.old != nil:
		return e.old.Name
	case e.new != nil:
		return e.new.Name
	}
	return e.more.Name
}

// Names implements [views.Views]. It returns what is in both directories.
func (w *view) Names(ctx context.Context, d *dir) ([]entry, error) {
	entries, err := w.names(ctx, d)
	if !inode.Vanished(err) { // else it is gone, whatever the errno means to overlayfs
		err = w.refusal(err)
	}
	return entries, err
}

func (w *view) names(ctx context.Context, d *dir) ([]entry, error) {
	if d.same {
		if err := errors.Join(identify(d.old), identify(d.new)); err != nil {
			return nil, err
		}
	}
	a, err := w.list(ctx, d.old)
	if err != nil {
		return nil, err
	}
	b, err := w.list(ctx, d.new)
	if err != nil {
		return nil, err
	}
	more, err := d.more(ctx)
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
func (d *dir) more(ctx context.Context) ([]sys.Dirent, error) {
	if d.names == nil {
		return nil, nil
	}
	list, err := d.names.List(ctx)
	if inode.Vanished(err) {
		return nil, nil
	}
	return list, err
}

// list lists a directory, nil for one that is not there.
func (w *view) list(ctx context.Context, d *fswalk.Dir) ([]sys.Dirent, error) {
	switch {
	case d == nil:
		return nil, nil
	case w.overlay:
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
