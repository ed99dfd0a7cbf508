package sys

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

// TempFile makes a file in the directory dirfd that has no name, so that nothing is
// left of it unless [Temp.Publish] gives it one, or where the file system knows no such
// files (NFS) one that has a name; closing it takes that away. dirfd must stay open
// until the file is closed; O_PATH is enough. title is what errors call the file.
func TempFile(dirfd int, title string) (*Temp, error) {
	fd, err := openMode(dirfd, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o666)
	if err == nil {
		return &Temp{File: os.NewFile(uintptr(fd), title), dirfd: dirfd}, nil
	}
	name := tempName()
	fd, nameErr := openMode(dirfd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o666)
	if nameErr != nil {
		return nil, err
	}
	return &Temp{File: os.NewFile(uintptr(fd), title), dirfd: dirfd, name: name}, nil
}

// openMode is openat for files that are made.
func openMode(dirfd int, name string, flags int, mode uint32) (fd int, err error) {
	err = Retry(func() error { fd, err = unix.Openat(dirfd, name, flags, mode); return err })
	return fd, err
}

// Temp is a file that has no name yet, or a temporary one.
type Temp struct {
	*os.File
	dirfd int
	name  string // "" none
}

// Close closes the file and takes its temporary name away.
func (t *Temp) Close() error {
	if t.name != "" {
		_ = UnlinkAt(t.dirfd, t.name)
	}
	return t.File.Close()
}

// Publish gives t a name in the directory that it was made in, whatever had that name
// before. A symbolic link is replaced, not followed.
func (t *Temp) Publish(as string) error {
	if t.name == "" {
		// linkat replaces nothing, rename does: then the file has another name for a moment.
		if err := t.link(as); !errors.Is(err, fs.ErrExist) {
			return err
		}
		name, err := t.linkBeside(as)
		if err != nil {
			return err
		}
		t.name = name
	}
	if err := unix.Renameat(t.dirfd, t.name, t.dirfd, as); err != nil {
		return err
	}
	t.name = ""
	return nil
}

// linkBeside gives t a temporary name. A kill leaves it there, so it is the same for a
// name each time, and locked while it is in use: the next who writes to the name
// removes what nobody uses.
func (t *Temp) linkBeside(as string) (string, error) {
	_ = unix.Flock(int(t.Fd()), unix.LOCK_EX|unix.LOCK_NB) // without locks nothing is ever removed, either
	name := besideName(as)
	err := t.link(name)
	if errors.Is(err, fs.ErrExist) && removeUnused(t.dirfd, name) {
		err = t.link(name)
	}
	if errors.Is(err, fs.ErrExist) {
		name = tempName()
		err = t.link(name)
	}
	return name, err
}

// removeUnused removes a file that nobody has locked, and reports whether it did.
func removeUnused(dirfd int, name string) bool {
	fd, err := openAt(dirfd, name, fileFlags)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	// It may have been renamed before it was unlocked. If not it stays: who else would
	// remove it needs the lock.
	var is, was Stat
	if UsageAt(fd, "", &was) != nil || UsageAt(dirfd, name, &is) != nil || is.Ino != was.Ino || is.Dev != was.Dev {
		return false
	}
	return UnlinkAt(dirfd, name) == nil
}

func (t *Temp) link(name string) error {
	return unix.Linkat(unix.AT_FDCWD, descriptor(int(t.Fd())), t.dirfd, name, unix.AT_SYMLINK_FOLLOW)
}

func besideName(as string) string {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(as))
	return fmt.Sprintf(".overlaydiff-%016x", hash.Sum64())
}

func tempName() string { return fmt.Sprintf(".overlaydiff-%016x", rand.Uint64()) }
