package inode

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
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
	names, err := p.Ref.xattrs(p.Visible, false)
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
