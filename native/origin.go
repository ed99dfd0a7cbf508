package native

import (
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/kernel"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// pointsTo reports whether the index entry of a directory is that of the upper
// directory up.
func (l *lookup) pointsTo(entry *inode.Ref, up *probe) (bool, error) {
	upper, _, ok, err := l.origin(entry, l.marks.Upper)
	if err != nil || !ok || !upper.Upper || !l.layers[0].mayHave(upper) {
		return false, err
	}
	h, err := handle(&up.ref)
	return h == upper.Handle, err
}

// origin reads a handle that is stored as an attribute. said: there is one, be it
// malformed.
func (l *lookup) origin(ref *inode.Ref, attr string) (origin whiteout.Origin, said, ok bool, err error) {
	var value []byte
	err = ref.Dir.Use(func(fd int) (err error) {
		value, said, err = sys.GetXattr(fd, ref.Name, attr)
		return ref.Dir.WrapXattr(attr, ref.Name, err)
	})
	if err != nil || !said {
		return origin, said, false, err
	}
	origin, malformed := whiteout.ParseOrigin(value)
	return origin, said, malformed == nil, nil
}

// belongs reports whether the topmost lower entry h is what the upper entry up
// goes with. Where the kernel checks the origin, an offline change of the lower
// layer makes a directory stand alone and a metacopy file an error. A directory that
// has no origin gets one on lookup; a malformed one is the wrong one. Of a file, an
// origin that leads nowhere is none.
func (l *lookup) belongs(up, h *probe) (bool, error) {
	isDir := up.ref.IsDir()
	if isDir && !l.features.NFSExport || !isDir && !l.features.Index {
		return true, nil
	}
	origin, said, ok, err := l.origin(&up.ref, l.marks.Origin)
	if err != nil {
		return false, err
	}
	if !ok {
		return !isDir || !said, nil
	}
	if !isDir {
		if _, ok := l.copiedFrom(origin, up); !ok {
			return true, nil
		}
	}
	got, err := handle(&h.ref)
	if err != nil {
		return false, err
	}
	same := got == origin.Handle && !origin.Upper && l.layers[h.layer].mayHave(origin)
	if !same && !isDir {
		err = markError(&up.ref, l.marks.Origin, "the lower file below it is not the one that it was copied up from", syscall.ESTALE)
	}
	return same, err
}

// checkOrigin returns the error with which kernels before 5.15 refuse an upper file whose
// origin is of another type (ovl_check_origin_fh).
func (l *lookup) checkOrigin(up *probe) error {
	if up.ref.IsDir() || !kernel.StrictOrigins() {
		return nil
	}
	origin, _, ok, err := l.origin(&up.ref, l.marks.Origin)
	if err != nil || !ok {
		return err
	}
	if st, err := statOrigin(origin, l.layers); err == nil && st.Format() != up.ref.Stat.Format() {
		return markError(&up.ref, l.marks.Origin, "it is an inode of another type", syscall.EIO)
	}
	return nil
}

// copiedFrom returns what stat says of up's origin; false if that leads nowhere or to
// another type of inode, which the kernel takes for an unknown origin
// (ovl_check_origin).
func (l *lookup) copiedFrom(origin whiteout.Origin, up *probe) (sys.Stat, bool) {
	st, err := statOrigin(origin, l.layers)
	return st, err == nil && st.Format() == up.ref.Stat.Format()
}
