package mounting

import "golang.org/x/sys/unix"

// Copy returns a tree of the mount that the directory fd is on, which begins there (Linux
// 5.2). It has nothing of what is mounted inside.
func Copy(fd int) (tree int, err error) {
	return unix.OpenTree(fd, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
}

// MapIDs makes a tree show owners as a user namespace maps them (Linux 5.12).
func MapIDs(tree, userNamespace int) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userNamespace)}
	return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr)
}

// Attach mounts a tree at a path, in the calling thread's mount namespace.
func Attach(tree int, point string) error {
	return unix.MoveMount(tree, "", unix.AT_FDCWD, point, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
