package inode

import (
	"errors"
	"fmt"
	"iter"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Payload reads an inode for who carries it elsewhere: a [diff.Payload].
type Payload struct {
	Ref     Ref
	Visible func(name string) (string, bool) // see [Pair]
	// PastSize: see [Pair].
	PastSize bool
}

// Raced makes an error that says that something vanished match [diff.ErrRaced].
func Raced(err error) error {
	if err == nil || !Vanished(err) {
		return err
	}
	return fmt.Errorf("%w: %w", diff.ErrRaced, err)
}

// Again implements [diff.Payload].
func (p *Payload) Again() (diff.Entry, diff.Payload, error) {
	now := *p
	if err := now.Ref.Reload(); err != nil {
		return diff.Entry{}, nil, Raced(err)
	}
	return now.Ref.Entry(), &now, nil
}

// Open implements [diff.Payload].
func (p *Payload) Open() (diff.OpenFile, error) {
	f, err := p.Ref.OpenFile()
	if err == nil && p.PastSize {
		f.Size = sys.ContentSize(f.FD, f.Size)
	}
	return f, Raced(err)
}

// Target implements [diff.Payload].
func (p *Payload) Target() (string, error) {
	target, err := p.Ref.target()
	if errors.Is(err, syscall.EINVAL) { // it is no link any more
		err = ErrSwapped
	}
	return target, Raced(err)
}

// Xattrs implements [diff.Payload].
func (p *Payload) Xattrs() ([]diff.Xattr, error) {
	names, err := Pair{Visible: p.Visible}.xattrs(&p.Ref, false)
	if err != nil {
		return nil, Raced(err)
	}
	var list []diff.Xattr
	for _, x := range names {
		v, ok, err := value(&p.Ref, x.name)
		if err != nil {
			return nil, Raced(err)
		}
		if ok { // else it was removed after it was listed
			list = append(list, diff.Xattr{Name: x.visible, Value: v})
		}
	}
	return list, nil
}

// Attributes implements [diff.Payload].
func (p *Payload) Attributes() (string, error) {
	letters := ""
	for _, a := range []struct {
		has    bool
		letter string
	}{{p.Ref.Stat.AppendOnly, "a"}, {p.Ref.Stat.NoDump, "d"}, {p.Ref.Stat.Immutable, "i"}} {
		if a.has {
			letters += a.letter
		}
	}
	return letters, nil
}

// Carried is what an entry has beside its change if it may be carried elsewhere.
type Carried struct {
	Opaque, Lower, Uncounted bool
	Was                      diff.Inode
	WasLinks                 uint32
	Payload, Old             diff.Payload
}

// Wanted is an entry that may have to be carried.
type Wanted struct {
	Change    *diff.Change // what happened to it
	From, To  *Ref         // as the old and the new view show it
	Was       diff.Inode   // From's, as of [diff.Item]
	Descended bool         // it is a directory in which there may be something to carry
	Hides     bool         // it is in a directory that hides the old view's
}

// Wanted returns what an entry has beside its change, nil if it is not to be carried.
func (w Wanted) Carried(want *diff.Want) *Carried {
	c := &Carried{}
	stays := w.Change.Kind == 0 && w.From != nil && w.To != nil && !w.To.IsDir()
	if stays {
		c.Was, c.WasLinks = w.Was, w.From.Stat.Nlink
	}
	switch {
	case w.Descended:
		return c
	case want.Links == nil:
		parted := want.Parted && stays && max(w.From.Stat.Nlink, w.To.Stat.Nlink) > 1 && w.Was != w.To.id()
		if w.Change.Kind != 0 || w.To != nil && w.Hides || parted {
			return c
		}
		return nil
	case !stays:
		return nil
	}
	if _, ok := want.Links[w.To.id()]; ok {
		return c
	}
	return nil
}

// Carry implements [diff.Carrier] with a walk as that of [Changes].
func Carry(opts diff.Options, walk func(*fswalk.Pool) iter.Seq2[Found, error], use func(iter.Seq2[diff.Item, error]) error) error {
	pool := fswalk.NewPool(0)
	defer pool.Close()
	return use(func(yield func(diff.Item, error) bool) {
		for f, err := range settled(opts, walk(pool)) {
			item := diff.Item{Change: f.Change}
			if c := f.Carried; c != nil {
				item.Opaque, item.Lower, item.Uncounted, item.Payload, item.Old = c.Opaque, c.Lower, c.Uncounted, c.Payload, c.Old
				item.Was, item.WasLinks = c.Was, c.WasLinks
			}
			if !yield(item, err) {
				return
			}
		}
	})
}
