//go:build linux

package mountutil

import (
	"golang.org/x/sys/unix"
)

// CloneTree opens the directory path for reading, without what is mounted
// inside: overlayfs sees its layers so. With private true, the descriptor is in
// a copy of the mount that nothing else can reach and that ends with it. Where
// that is refused, private is false and the descriptor is an ordinary one: a
// walk that must not enter mounts has to look out for them itself.
//
// The caller closes fd. Symbolic links in path are followed. Errors match
// [fs.ErrNotExist] and the like.
func CloneTree(path string) (fd int, private bool, err error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil {
		defer unix.Close(tree)
		// The tree's own descriptor is O_PATH: it can't be read from.
		if fd, err = open(tree, ".", unix.O_RDONLY|unix.O_DIRECTORY); err == nil {
			return fd, true, nil
		}
	}
	switch err {
	case unix.EPERM, // no CAP_SYS_ADMIN, or a sandbox
		unix.ENOSYS, // before Linux 5.2
		unix.EINVAL: // a mount of another namespace (/proc/N/root), an unbindable one, or one that hides locked mounts
		fd, err = open(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY)
	}
	if err != nil {
		return -1, false, pathError("open", path, err, "name a directory that can be read")
	}
	return fd, false, nil
}
