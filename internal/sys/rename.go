package sys

import "golang.org/x/sys/unix"

// RenameExchange swaps what two paths lead to, atomically.
func RenameExchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// RenameAt renames a name, or a path, from one directory to a name in another, and
// replaces an empty directory by a directory.
func RenameAt(fromfd int, from string, tofd int, to string) error {
	return unix.Renameat(fromfd, from, tofd, to)
}

// LinkFollow makes the path to a hard link of what from leads to, following a
// symbolic link: so an open file without a name gets one through /proc/self/fd.
func LinkFollow(from, to string) error {
	return unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
}
