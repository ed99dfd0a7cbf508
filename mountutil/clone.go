//go:build linux

package mountutil

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Tree is an open directory tree. Unless [Tree.Private] is false it is on a mount
// of its own, or of several trees, that no path leads to and that ends with them,
// however the process ends.
type Tree struct {
	fd   int
	copy *mountCopy // nil: none
	once sync.Once
}

// mountCopy is a detached copy of a mount, without what is mounted inside.
type mountCopy struct {
	// fd is O_PATH: it can't be read from. It stays open all the same. Once it is
	// closed the mount belongs to no namespace, and the kernel then takes a global
	// lock each time that a path is put (mntput_no_expire): that made every call
	// half as slow again, and several threads hardly faster than one.
	fd    int
	dir   int // some directory in it, open for reading
	trees atomic.Int32
}

func (c *mountCopy) release() (err error) {
	if c != nil && c.trees.Add(-1) == 0 {
		err = and(unix.Close(c.dir), unix.Close(c.fd))
	}
	return err
}

// Mounts opens trees so that those which are on one mount share a copy of it: to
// end a copy takes the kernel as long as a hundred calls, and an image may have a
// hundred layers. The zero value is ready. Not safe for concurrent use, and no use
// for more trees once one of them is closed.
type Mounts struct {
	// Opener opens the directories; nil: their paths are followed.
	Opener diff.Opener
	copies map[uint64]*mountCopy // by the id of the mount
}

// OpenTree opens one directory tree, see [Mounts.OpenTree].
func OpenTree(path string) (*Tree, error) { return new(Mounts).OpenTree(path) }

// OpenTree opens the directory path for reading, without what is mounted
// inside: overlayfs sees its layers so. Where the copy of the mount that this
// takes is refused, the tree is an ordinary directory and not private: a walk
// that must not enter mounts has to look out for them itself.
//
// Symbolic links in path are followed. Errors match [fs.ErrNotExist] and the
// like.
func (m *Mounts) OpenTree(path string) (*Tree, error) {
	t, err := m.openTree(path)
	if errno := unix.Errno(0); errors.As(err, &errno) && m.Opener == nil {
		err = pathError("open", path, errno, "name a directory that can be read")
	}
	return t, err
}

// open opens a directory with O_PATH. One of another mount namespace is a copy without what
// is mounted inside, if this process may make one there.
func (m *Mounts) open(path string) (*os.File, error) {
	if d, ok := m.Opener.(detacher); ok {
		if f, ok, err := d.detached(path); ok && err == nil {
			return f, nil
		}
	}
	return openIn(m.Opener, path)
}

// Open opens one of the directories of a stack with O_PATH, as s.Opener says. An error
// of a path that is followed is an [*fs.PathError].
func Open(s diff.Stack, path string) (*os.File, error) { return openIn(s.Opener, path) }

func openIn(opener diff.Opener, path string) (*os.File, error) {
	if opener != nil {
		return opener.Open(path)
	}
	fd, err := sys.Open(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (m *Mounts) openTree(path string) (*Tree, error) {
	f, err := m.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at := int(f.Fd())
	var st unix.Statx_t
	err = unix.Statx(at, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MNT_ID, &st)
	known := err == nil && st.Mask&unix.STATX_MNT_ID != 0 // 5.8
	if c := m.copies[st.Mnt_id]; known && c != nil {
		if fd, ok := c.reopen(at, &st); ok {
			c.trees.Add(1)
			return &Tree{fd: fd, copy: c}, nil
		}
	}
	t, err := openCopy(at)
	if err == nil && known && t.copy != nil {
		if m.copies == nil {
			m.copies = map[uint64]*mountCopy{}
		}
		m.copies[st.Mnt_id] = t.copy
	}
	return t, err
}

// reopen opens the directory at, which st describes, in the copy. It is found by
// its file handle: paths may have changed, and this asks for no other name of it.
// Some file systems have no handles, and then there is no such way.
func (c *mountCopy) reopen(at int, st *unix.Statx_t) (fd int, ok bool) {
	handle, _, err := unix.NameToHandleAt(at, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, false
	}
	fd, err = unix.OpenByHandleAt(c.dir, handle, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return -1, false
	}
	var now unix.Statx_t
	err = unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO, &now)
	if err != nil || now.Ino != st.Ino || now.Dev_major != st.Dev_major || now.Dev_minor != st.Dev_minor {
		unix.Close(fd) // the id was that of an older mount
		return -1, false
	}
	return fd, true
}

// openCopy opens the directory at in a copy of its mount, if that may be made.
func openCopy(at int) (*Tree, error) {
	mount, err := mounting.Copy(at)
	switch err {
	case nil:
	case unix.EPERM, // no CAP_SYS_ADMIN, or a sandbox
		unix.ENOSYS, // before Linux 5.2
		unix.EINVAL: // a mount of another namespace (/proc/N/root), an unbindable one, or one that hides locked mounts
		fd, err := sys.Open(at, ".", unix.O_RDONLY|unix.O_DIRECTORY)
		return &Tree{fd: fd}, err
	default:
		return nil, err
	}
	c := &mountCopy{fd: mount, dir: -1}
	c.trees.Store(1)
	fd, err := sys.Open(mount, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err == nil {
		c.dir, err = sys.Open(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		unix.Close(mount)
		return nil, err
	}
	return &Tree{fd: fd, copy: c}, nil
}

// FD returns the descriptor of the root directory, open for reading. It belongs
// to the tree.
func (t *Tree) FD() int { return t.fd }

// Private reports whether nothing that is mounted inside the tree is seen.
func (t *Tree) Private() bool { return t.copy != nil }

// Close closes the tree. Directories below that were opened through it stay
// usable until they are closed, too. Calls after the first do nothing.
func (t *Tree) Close() error {
	var err error
	t.once.Do(func() {
		err = and(unix.Close(t.fd), t.copy.release())
		t.fd, t.copy = -1, nil
	})
	return err
}
