//go:build linux

package mountutil

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Tree is an open directory tree. Unless [Tree.Private] is false it is a mount
// of its own that no path leads to and that ends with the tree, however the
// process ends.
type Tree struct {
	fd    int
	mount int // O_PATH descriptor of a detached mount, -1: none
	once  sync.Once
}

// OpenTree opens the directory path for reading, without what is mounted
// inside: overlayfs sees its layers so. Where the copy of the mount that this
// takes is refused, the tree is an ordinary directory and not private: a walk
// that must not enter mounts has to look out for them itself.
//
// Symbolic links in path are followed. Errors match [fs.ErrNotExist] and the
// like.
func OpenTree(path string) (*Tree, error) {
	mount, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		mount = -1
		switch err {
		case unix.EPERM, // no CAP_SYS_ADMIN, or a sandbox
			unix.ENOSYS, // before Linux 5.2
			unix.EINVAL: // a mount of another namespace (/proc/N/root), an unbindable one, or one that hides locked mounts
			err = nil
		}
	}
	fd := -1
	switch {
	case err != nil:
	case mount < 0:
		fd, err = open(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY)
	default:
		// The mount's descriptor is O_PATH: it can't be read from. It stays open
		// all the same. Once it is closed the mount belongs to no namespace, and
		// the kernel then takes a global lock each time that a path is put
		// (mntput_no_expire): that made every call half as slow again, and
		// several threads hardly faster than one.
		fd, err = open(mount, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	}
	if err != nil {
		if mount >= 0 {
			unix.Close(mount)
		}
		return nil, pathError("open", path, err, "name a directory that can be read")
	}
	return &Tree{fd: fd, mount: mount}, nil
}

// FD returns the descriptor of the root directory, open for reading. It belongs
// to the tree.
func (t *Tree) FD() int { return t.fd }

// Private reports whether nothing that is mounted inside the tree is seen.
func (t *Tree) Private() bool { return t.mount >= 0 }

// Close closes the tree. Directories below that were opened through it stay
// usable until they are closed, too. Calls after the first do nothing.
func (t *Tree) Close() error {
	var err error
	t.once.Do(func() {
		err = unix.Close(t.fd)
		if t.mount >= 0 {
			err = and(err, unix.Close(t.mount))
		}
		t.fd, t.mount = -1, -1
	})
	return err
}
