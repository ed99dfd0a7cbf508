package inode

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Pair is the two inodes that an old and a new view show at one path. It is
// the [diff.Parts] of both engines.
type Pair struct {
	Ctx      context.Context //nolint:containedctx // a Pair lives for one comparison
	Old, New *Ref
	// PastSize: what is read may be longer than stat says. Overlayfs shows the
	// size that a metacopy file claims, and the data that there is.
	PastSize bool
	// Extents: both files are on one file system, where they may share blocks.
	Extents bool
	// Content says when contents are read, Kinds whether differences that a stat call
	// tells are enough.
	Content diff.Content
	Kinds   bool
	// Visible maps the name of an extended attribute in the tree to the one
	// that the view shows; nil: they are the same.
	Visible func(name string) (string, bool)
	// Data finds the contents, if they may be in other inodes; nil: they are not.
	Data Data
}

// Data finds the inodes that have the contents of a [Pair]: those of metacopy files are in
// lower layers. It is asked when the contents are needed: without them, the kernel fails
// on open and not before.
type Data interface {
	// SameData reports whether both contents are in one place.
	SameData() bool
	// Contents returns the inodes that have the contents.
	Contents() (from, to *Ref, err error)
}

// Compare returns in what the two inodes differ, by [diff.Compare].
func (p *Pair) Compare() (diff.What, error) {
	if err := p.knowsOwner(); err != nil {
		return 0, err
	}
	a, b := p.Old.Entry(), p.New.Entry()
	return diff.Compare(&a, &b, p, p.Kinds)
}

// knowsOwner returns an error if the inodes may have several owners, and no one can see it.
func (p *Pair) knowsOwner() error {
	a, b := &p.Old.Stat, &p.New.Stat
	if sys.KnowsOwner(a.UID, a.GID) || sys.KnowsOwner(b.UID, b.GID) {
		return nil
	}
	if a.Ino == b.Ino && a.Ctime == b.Ctime && (a.Dev != b.Dev || p.Old.Equal(p.New)) {
		return nil // that is one inode in two mounts of overlays
	}
	return &diff.UnsupportedError{
		Op:     "compare the owner of " + p.New.Dir.DisplayPath(p.New.Name),
		Reason: "it has no id in this user namespace; run where it has one",
	}
}

// SameTarget implements [diff.Parts].
func (p *Pair) SameTarget() (bool, error) {
	from, err := p.Old.target()
	if err != nil {
		return false, err
	}
	to, err := p.New.target()
	return from == to, err
}

// xattr is one extended attribute: its name in the tree and in the view.
type xattr struct{ name, visible string }

// SameXattrs implements [diff.Parts].
func (p *Pair) SameXattrs() (bool, error) {
	from, err := p.Old.xattrs(p.Visible, false)
	if err != nil {
		return false, err
	}
	to, err := p.New.xattrs(p.Visible, false)
	if err != nil || len(from) != len(to) {
		return false, err
	}
	for i := range from {
		if err := p.Ctx.Err(); err != nil { // a thousand values of 64 KiB are possible
			return false, err
		}
		if from[i].visible != to[i].visible {
			return false, nil
		}
		same, err := sameValue(p.Old, from[i].name, p.New, to[i].name)
		if err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// xattrs returns the attributes that the view shows, by name; those that never
// count only if all are asked for.
func (r *Ref) xattrs(visible func(string) (string, bool), all bool) ([]xattr, error) {
	var names []string
	err := r.Dir.Use(func(fd int) (err error) {
		names, err = sys.ListXattr(fd, r.Name)
		return r.Dir.Wrap("listxattr", r.Name, err)
	})
	if err != nil || len(names) == 0 {
		return nil, err
	}
	list := make([]xattr, 0, len(names))
	for _, name := range names {
		x, ok := xattr{name, name}, true
		switch {
		case r.Lens != nil && r.Lens.Visible != nil:
			x.visible, ok = r.Lens.Visible(name)
		case visible != nil:
			x.visible, ok = visible(name)
		}
		if ok && (all || !diff.IgnoresXattr(x.visible)) {
			list = append(list, x)
		}
	}
	slices.SortFunc(list, func(a, b xattr) int { return strings.Compare(a.visible, b.visible) })
	return list, nil
}

func sameValue(a *Ref, nameA string, b *Ref, nameB string) (bool, error) {
	va, okA, err := value(a, nameA)
	if err != nil {
		return false, err
	}
	vb, okB, err := value(b, nameB)
	return okA == okB && bytes.Equal(va, vb), err
}

func value(r *Ref, name string) (v []byte, ok bool, err error) {
	err = r.Dir.Use(func(fd int) (err error) {
		v, ok, err = sys.GetXattr(fd, r.Name, name)
		return r.Dir.WrapXattr(name, r.Name, err)
	})
	if err != nil || !ok {
		return nil, ok, err
	}
	v, err = r.Lens.value(name, v)
	return v, true, r.Dir.WrapXattr(name, r.Name, err)
}

// blockSize is how much of each file is read at a time. Large enough that the
// system calls don't count, small enough for the processor's cache.
const blockSize = 128 << 10

var blocks = sync.Pool{New: func() any { return new([2][blockSize]byte) }}

// SameContent implements [diff.Parts].
func (p *Pair) SameContent() (bool, error) {
	from, to := p.Old, p.New
	if p.Content == diff.ContentNever || p.Data != nil && p.Data.SameData() {
		return true, nil
	}
	if p.Data != nil {
		var err error
		// A read ends where the data ends, whatever size a metacopy file claims.
		if from, to, err = p.Data.Contents(); err != nil || from.Stat.Size != to.Stat.Size {
			return false, err
		}
	}
	if to.Stat.Size == 0 && !p.PastSize || from.Same(to) {
		return true, nil
	}
	a, err := from.Open()
	if err != nil {
		return false, err
	}
	defer sys.Close(a)
	b, err := to.Open()
	if err != nil {
		return false, err
	}
	defer sys.Close(b)

	if p.Extents && p.Content != diff.ContentAlways && to.Stat.Size >= blockSize && sys.SameExtents(a, b) {
		return true, nil
	}
	guestA, guestB := from.guest(a), to.guest(b)
	defer guestA.Close()
	defer guestB.Close()
	buf, _ := blocks.Get().(*[2][blockSize]byte)
	defer blocks.Put(buf)
	size := to.Stat.Size
	if p.PastSize {
		size = math.MaxInt64
	}
	sparse := isSparse(from) && isSparse(to)
	for off := int64(0); off < size; off += min(blockSize, size-off) { // no further than an int64
		if sparse { // what is a hole in both is equal
			if off = min(sys.NextData(a, off, size), sys.NextData(b, off, size)); off >= size {
				break
			}
		}
		if err := p.Ctx.Err(); err != nil {
			return false, err
		}
		guestA.Read(off)
		guestB.Read(off)
		n := min(size-off, blockSize)
		na, err := sys.PreadFull(a, buf[0][:n], off)
		if err != nil {
			return false, from.Dir.Wrap("read", from.Name, err)
		}
		nb, err := sys.PreadFull(b, buf[1][:n], off)
		if err != nil {
			return false, to.Dir.Wrap("read", to.Name, err)
		}
		if na != nb || !bytes.Equal(buf[0][:na], buf[1][:nb]) {
			return false, nil
		}
		if int64(na) < n { // the end of both
			break
		}
	}
	return true, nil
}

// large is the size from which on a file must not push others out of the page
// cache by being compared.
const large = 32 << 20

func (r *Ref) guest(fd int) *sys.Guest {
	if r.Stat.Size <= large {
		return nil
	}
	return sys.NewGuest(fd, r.Stat.Size)
}

func isSparse(r *Ref) bool { return r.Stat.Blocks*512 < r.Stat.Size }

// Open opens a regular file for reading and makes sure that it is the one that
// stat saw: a fifo or a device in its place is not read.
func (r *Ref) Open() (file int, err error) {
	f, err := r.OpenFile()
	return f.FD, err
}

// OpenFile is [Ref.Open] that also says what the file has now.
func (r *Ref) OpenFile() (f diff.OpenFile, err error) {
	err = r.Dir.Use(func(dirfd int) error {
		file, err := sys.OpenFileAt(dirfd, r.Name)
		for err == syscall.EMFILE && r.Dir.GiveWay() { //nolint:errorlint // sys returns it bare
			file, err = sys.OpenFileAt(dirfd, r.Name)
		}
		if err != nil {
			file, err = r.openPinned(dirfd, err)
		}
		if err == nil {
			f, err = r.check(file)
		}
		// Of a name that stat saw, only overlayfs says so: the redirect of a metacopy file
		// leads out of the data-only layers, or is too long, which open finds (Linux 6.5).
		if err == syscall.EXDEV || err == syscall.ENAMETOOLONG { //nolint:errorlint // as above
			err = Refused{Err: err}
		}
		return r.Dir.Wrap("open", r.Name, err)
	})
	return f, err
}

// check returns an open file, or closes it and returns [ErrSwapped] if it is not
// what stat saw.
func (r *Ref) check(file int) (diff.OpenFile, error) {
	var st sys.Stat
	err := sys.StatAt(file, "", sys.StatAll, &st)
	if err == nil && (st.Format() != sys.Regular || st.Ino != r.Stat.Ino) {
		err = ErrSwapped
	}
	if err != nil {
		sys.Close(file)
	}
	return diff.OpenFile{FD: file, Size: st.Size, Sparse: st.Blocks*512 < st.Size}, err
}

// openPinned opens what could not be opened, with err: it may have been something
// else for a moment, which fails in ways of its own, a whiteout with ENXIO, or with
// EACCES on a nodev mount. So it is held fast before it is looked at and opened;
// that stat says the same before and after proves nothing within a tick of the
// kernel's clock.
func (r *Ref) openPinned(dirfd int, err error) (int, error) {
	pinned, pinErr := sys.OpenPathAt(dirfd, r.Name)
	if pinErr != nil {
		return -1, pinErr
	}
	if _, swapped := r.check(pinned); swapped != nil {
		return -1, swapped
	}
	defer sys.Close(pinned)
	file, openErr := sys.Reopen(pinned)
	if errors.Is(openErr, fs.ErrNotExist) { // no /proc
		openErr = err
	}
	if Vanished(openErr) {
		// The inode is there and can't be opened: in an overlay, the data of a
		// metacopy file is missing.
		openErr = Refused{openErr}
	}
	return file, openErr
}
