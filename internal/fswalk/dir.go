package fswalk

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// ErrSwapped says that something else took the place of the directory that was
// meant.
var ErrSwapped = errors.New("it was replaced while it was read")

// Dir is a directory below a root of a pool. It costs a descriptor only while
// it is in use or recently was. Safe for concurrent use.
type Dir struct {
	pool   *Pool
	parent *Dir // nil: a root, open as long as the pool
	name   string
	depth  int // below the root
	// dev and ino tell on opening again whether it is still the same directory:
	// someone may have swapped it.
	dev, ino uint64

	fd         int          // -1: not open
	users      atomic.Int32 // from and to 0 only with the pool locked; with any, fd stays
	prev, next *Dir         // in Pool.idle

	listing sync.Mutex // a descriptor has one offset
	moved   bool       // the offset is not at the beginning
	known   bool       // was open before
}

// Child returns the directory name in d, which stat said to be inode (dev,
// ino); 0, 0: [Dir.Identify] tells when it is open. Nothing is opened yet.
func (d *Dir) Child(name string, dev, ino uint64) *Dir {
	return &Dir{pool: d.pool, parent: d, name: name, depth: d.depth + 1, dev: dev, ino: ino, fd: -1}
}

// Identify tells d, which is in use, which inode it is if [Dir.Child] was not
// told: 0, 0.
func (d *Dir) Identify(dev, ino uint64) {
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	d.dev, d.ino = dev, ino
}

// Same reports whether both are the same directory below the same root.
func (d *Dir) Same(o *Dir) bool {
	return d == o || d.parent != nil && o.parent != nil &&
		d.dev == o.dev && d.ino == o.ino && d.root() == o.root()
}

func (d *Dir) root() *Dir {
	for d.parent != nil {
		d = d.parent
	}
	return d
}

// DisplayPath returns the path of name in d for messages; it is not to be
// opened.
func (d *Dir) DisplayPath(name string) string {
	parts := []string{}
	if name != "" {
		parts = append(parts, name)
	}
	for ; d != nil; d = d.parent {
		if d.name != "." { // see [Dir.Visit]
			parts = append(parts, d.name)
		}
	}
	slices.Reverse(parts)
	if path := strings.Join(parts, "/"); path != "" {
		return path
	}
	return "/"
}

// Wrap makes err, which op returned for name in d (d itself if name is empty),
// an [fs.PathError]. nil stays nil.
func (d *Dir) Wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: d.DisplayPath(name), Err: err}
}

// WrapXattr is [Dir.Wrap] for reading an extended attribute.
func (d *Dir) WrapXattr(attr, name string, err error) error {
	if err == nil {
		return nil // without having put the words together
	}
	return d.Wrap("getxattr "+attr, name, err)
}

// Use calls f with d's descriptor, which is open during the call.
func (d *Dir) Use(f func(fd int) error) error {
	fd, err := d.acquire()
	if err != nil {
		return err
	}
	defer d.release()
	return f(fd)
}

// Hold opens d, if it can be opened, and keeps it open until Release; false is
// no error yet. What is done with d meanwhile takes no lock.
func (d *Dir) Hold() bool {
	_, err := d.acquire()
	return err == nil
}

// Release ends a Hold that returned true.
func (d *Dir) Release() { d.release() }

// acquire opens d, and what of its ancestors was closed, and pins it until
// release. Errors are wrapped.
func (d *Dir) acquire() (int, error) {
	if d.pin() {
		return d.fd, nil
	}
	// The nearest open ancestor, then down again: a loop, because a tree may be
	// deeper than anyone likes to recurse.
	path := []*Dir{d}
	above := d.parent
	for ; !above.pin(); above = above.parent {
		path = append(path, above)
	}
	if at := d.climb(len(path)); at != nil {
		above.release()
		path = path[:d.depth-at.depth]
	}
	for i, c := range slices.Backward(path) {
		err := c.open(c.parent.fd, c.name)
		// What was opened only to get further is the first to be closed again.
		// Else two walks deeper than the pool's limit would close each other's
		// directories all the time, and each would come from the root again.
		c.parent.releaseTo(i < len(path)-1)
		if err != nil {
			return -1, err
		}
	}
	return d.fd, nil
}

// climb pins d, or a directory above it, that is reached by ".." from one that is
// open, if d is less than most levels from there; else it returns nil. The inode that
// ".." leads to must prove right. A walk that comes back from a depth where the pool
// had to close what is above would else go down from the root again at each level.
func (d *Dir) climb(most int) *Dir {
	if most == 1 {
		return nil
	}
	at, levels := d.pool.nearest(d, most)
	for ; levels > 0; levels-- {
		up := at.parent
		if !up.pin() {
			if err := up.open(at.fd, ".."); err != nil {
				at.release()
				return nil
			}
		}
		at.release()
		at = up
	}
	return at
}

// nearest pins the open directory that is nearest to d, less than most levels up and
// down again, and returns how many of them are up.
func (p *Pool) nearest(d *Dir, most int) (at *Dir, up int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := p.idle.prev; one != &p.idle; one = one.prev {
		if n, levels := one.apart(d, most); levels < most {
			at, up, most = one, n, levels
		}
	}
	if at != nil {
		at.pinOpen()
	}
	return at, up
}

// apart returns how many levels it is from d up to the first directory that has o
// below it, and to o; the latter is most if it is more than that.
func (d *Dir) apart(o *Dir, most int) (up, levels int) {
	for ; d != o; levels++ {
		switch {
		case levels >= most || d.depth+o.depth == 0: // two roots
			return up, most
		case d.depth >= o.depth:
			d, up = d.parent, up+1
		default:
			o = o.parent
		}
	}
	return up, levels
}

// pin takes d if it is open.
func (d *Dir) pin() bool {
	for n := d.users.Load(); n > 0; n = d.users.Load() {
		if d.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
	p := d.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.fd < 0 {
		return false
	}
	d.pinOpen()
	return true
}

// pinOpen takes d, which is open. The pool is locked.
func (d *Dir) pinOpen() {
	if d.users.Add(1) == 1 {
		d.unlink()
	}
}

// open opens d, which is name in the directory at, and pins it.
func (d *Dir) open(at int, name string) error {
	fd, err := sys.OpenDirAt(at, name)
	for err == syscall.EMFILE && d.pool.shrink() { //nolint:errorlint // sys returns it bare
		fd, err = sys.OpenDirAt(at, name)
	}
	if err == nil {
		err = d.verify(fd)
	}
	if err != nil {
		return d.Wrap("open", "", err)
	}
	if spare := d.pool.add(d, fd); spare >= 0 {
		sys.Close(spare) // not under the lock: closing takes as long as opening
	}
	return nil
}

// verify closes fd and returns an error if d was open before and is another
// directory now: what is known of the one must not be said of the other.
func (d *Dir) verify(fd int) error {
	d.pool.mu.Lock()
	dev, ino, known := d.dev, d.ino, d.known
	d.pool.mu.Unlock()
	if !known {
		return nil
	}
	var st sys.Stat
	err := sys.StatAt(fd, "", sys.StatInode, &st)
	if err == nil && (st.Ino != ino || st.Dev != dev) {
		err = ErrSwapped
	}
	if err != nil {
		sys.Close(fd)
	}
	return err
}

func (d *Dir) release() { d.releaseTo(false) }

// releaseTo is release; with first, d is the first to be closed when another
// directory needs a descriptor, else the last.
func (d *Dir) releaseTo(first bool) {
	if spare := d.pool.drop(d, first); spare >= 0 {
		sys.Close(spare)
	}
}

// Stat fills st with what mask names of name in d.
func (d *Dir) Stat(name string, mask int, st *sys.Stat) error {
	fd, err := d.acquire()
	if err != nil {
		return err
	}
	defer d.release()
	return d.Wrap("statx", name, sys.StatAt(fd, name, mask, st))
}
