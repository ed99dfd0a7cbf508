package testenv

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/pkg/xattr"
)

// Replicate copies what is in one directory into another, which is there, as cp -a does:
// types, contents, hard links, owners, modes, times, and the extended attributes that the
// other file system can have (a tmpfs has no user.* before Linux 6.6). Nothing may be mounted
// inside.
func Replicate(from, to string) error {
	type inode struct{ dev, ino uint64 }
	made := map[inode]string{}
	var dirs []func() error // their times are set last: what is made in them changes those
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return pathError("lstat", path, err)
		}
		id := inode{uint64(st.Dev), st.Ino} //nolint:unconvert // 32 bits on some architectures
		if first, ok := made[id]; ok && !entry.IsDir() {
			return os.Link(first, target)
		}
		made[id] = target
		if err := replicate(path, target, rel == ".", &st); err != nil {
			return err
		}
		if entry.IsDir() {
			dirs = append(dirs, func() error { return setTimes(target, st.Mtim) })
			return nil
		}
		return setTimes(target, st.Mtim)
	})
	for _, dir := range slices.Backward(dirs) {
		err = errors.Join(err, dir())
	}
	return err
}

// replicate copies one inode, but for its times. exists: target is a directory that is there.
func replicate(path, target string, exists bool, st *syscall.Stat_t) error {
	var err error
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		if !exists {
			err = os.Mkdir(target, 0o700)
		}
	case syscall.S_IFLNK:
		var link string
		if link, err = os.Readlink(path); err == nil {
			err = os.Symlink(link, target)
		}
	case syscall.S_IFREG:
		err = replicateContent(path, target)
	default:
		err = pathError("mknod", target, syscall.Mknod(target, st.Mode, int(st.Rdev)))
	}
	if err == nil {
		err = os.Lchown(target, int(st.Uid), int(st.Gid))
	}
	if err == nil && st.Mode&syscall.S_IFMT != syscall.S_IFLNK { // after chown, which clears setuid
		err = pathError("chmod", target, syscall.Chmod(target, st.Mode&0o7777))
	}
	if err != nil {
		return err
	}
	names, err := xattr.LList(path)
	for _, name := range names {
		var value []byte
		if value, err = xattr.LGet(path, name); err == nil {
			err = xattr.LSet(target, name, value)
		}
		if errors.Is(err, syscall.EOPNOTSUPP) {
			err = nil
		}
		if err != nil {
			break
		}
	}
	return err
}

func replicateContent(path, target string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(target)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
