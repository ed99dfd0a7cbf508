package native

import (
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/internal/views"
)

// payload is a [diff.Payload] of what a view shows at a place.
type payload struct {
	inode.Payload
	view *view
	at   place
	data inode.Ref // has the content
	blob string    // as of [object]
}

// place is where a name is looked up.
type place struct {
	parent merged
	name   string // "": the root itself
	inNew  bool   // in the new view
}

// Payload implements [views.Lookup].
func (l *lookup) Payload(inNew bool) diff.Payload {
	at := place{parent: l.parent(inNew), name: l.name.name, inNew: inNew}
	return l.payload(at, l.shows(inNew))
}

func (w *view) payload(at place, o *object) *payload {
	return &payload{
		Payload: inode.Payload{Ref: *o.meta, Visible: w.show}, view: w, at: at, data: *o.data, blob: o.blob,
	}
}

// Again looks the name up anew. It implements [diff.Payload].
func (p *payload) Again() (diff.Entry, diff.Payload, error) {
	if p.at.name == "" {
		return p.Payload.Again()
	}
	l := lookup{view: p.view}
	var o *object
	_, err := views.Retry(func() (err error) {
		l.reset()
		o, err = l.resolve(p.at.parent, p.at.name, p.at.inNew)
		return err
	})
	switch {
	case err != nil:
		return diff.Entry{}, nil, inode.Raced(err)
	case o == nil:
		return diff.Entry{}, nil, diff.ErrRaced
	}
	return o.meta.Entry(), p.view.payload(p.at, o), nil
}

// Attributes implements [diff.Payload]. What would keep overlayfs itself from changing
// the file it writes down beside it (fs/overlayfs/util.c, ovl_set_protattr, 5.15).
func (p *payload) Attributes() (string, error) {
	letters, err := p.Payload.Attributes()
	if err != nil {
		return "", err
	}
	err = p.Ref.Dir.Use(func(fd int) error {
		value, _, err := sys.FindXattr(fd, p.Ref.Name, p.view.marks.Protattr)
		letters += string(value)
		return p.Ref.Dir.WrapXattr(p.view.marks.Protattr, p.Ref.Name, err)
	})
	return letters, inode.Raced(err)
}

// Open implements [diff.Payload].
func (p *payload) Open() (diff.OpenFile, error) {
	l := lookup{view: p.view}
	data, err := l.content(&object{meta: &p.Ref, data: &p.data, blob: p.blob})
	if err != nil {
		return diff.OpenFile{}, inode.Raced(err)
	}
	f, err := data.OpenFile()
	return f, inode.Raced(err)
}
