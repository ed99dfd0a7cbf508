package inode

import (
	"errors"
	"fmt"
	"iter"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
)

// Payload reads an inode for who carries it elsewhere: a [diff.Payload].
type Payload struct {
	Ref     Ref
	Visible func(name string) (string, bool) // see [Pair]
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

// Carried is what an entry has beside its change if it may be carried elsewhere.
type Carried struct {
	Opaque, Lower, Uncounted bool
	Payload, Old             diff.Payload
}

// Wants reports whether an entry of the new view, to, is to be carried, change
// being what happened to it. descended: it is a directory in which there may be
// something to carry. hides: it is in a directory that hides the old view's.
func Wants(want *diff.Want, change *diff.Change, to *Ref, descended, hides bool) bool {
	switch {
	case descended:
		return true
	case want.Links == nil:
		return change.Kind != 0 || to != nil && hides
	case change.Kind != 0 || to == nil || to.IsDir():
		return false
	}
	_, ok := want.Links[diff.Inode{Dev: to.Stat.Dev, Ino: to.Stat.Ino}]
	return ok
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
			}
			if !yield(item, err) {
				return
			}
		}
	})
}
