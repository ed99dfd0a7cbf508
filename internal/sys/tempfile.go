package sys

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// TempFile makes a file in dir that has no name, so that nothing is left of it
// unless [Publish] gives it one, or where the file system knows no such files (NFS)
// one that has a name; closing it takes that away.
func TempFile(dir string) (*Temp, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o666)
	if err == nil {
		return &Temp{File: os.NewFile(uintptr(fd), filepath.Join(dir, "unnamed"))}, nil
	}
	f, nameErr := os.OpenFile(tempName(dir), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if nameErr != nil {
		return nil, err
	}
	return &Temp{File: f, name: f.Name()}, nil
}

// Temp is a file that has no name yet, or a temporary one.
type Temp struct {
	*os.File
	name string // "" none
}

// Close closes the file and takes its temporary name away.
func (t *Temp) Close() error {
	if t.name != "" {
		_ = os.Remove(t.name)
	}
	return t.File.Close()
}

// Publish gives t the name path, in the directory that it was made in, whatever had
// that name before.
func Publish(t *Temp, path string) error {
	if t.name == "" {
		// linkat replaces nothing, rename does: then the file has another name for a moment.
		if err := t.link(path); !errors.Is(err, fs.ErrExist) {
			return err
		}
		name, err := t.linkBeside(path)
		if err != nil {
			return err
		}
		t.name = name
	}
	if err := os.Rename(t.name, path); err != nil {
		return err
	}
	t.name = ""
	return nil
}

// linkBeside gives t a temporary name. A kill leaves it there, so it is the same for a
// path each time, and locked while it is in use: the next who writes to the path
// removes what nobody uses.
func (t *Temp) linkBeside(path string) (string, error) {
	_ = unix.Flock(int(t.Fd()), unix.LOCK_EX|unix.LOCK_NB) // without locks nothing is ever removed, either
	name := besideName(path)
	err := t.link(name)
	if errors.Is(err, fs.ErrExist) && removeUnused(name) {
		err = t.link(name)
	}
	if errors.Is(err, fs.ErrExist) {
		name = tempName(filepath.Dir(path))
		err = t.link(name)
	}
	return name, err
}

// removeUnused removes a file that nobody has locked, and reports whether it did.
func removeUnused(name string) bool {
	fd, err := unix.Open(name, fileFlags, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	// It may have been renamed before it was unlocked. If not it stays: who else would
	// remove it needs the lock.
	var is, was unix.Stat_t
	if unix.Fstat(fd, &was) != nil || unix.Lstat(name, &is) != nil || is.Ino != was.Ino || is.Dev != was.Dev {
		return false
	}
	return os.Remove(name) == nil
}

func (t *Temp) link(path string) error {
	return LinkFollow(fmt.Sprintf("/proc/self/fd/%d", t.Fd()), path)
}

func besideName(path string) string {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(filepath.Base(path)))
	return filepath.Join(filepath.Dir(path), fmt.Sprintf(".overlaydiff-%016x", hash.Sum64()))
}

func tempName(dir string) string {
	return filepath.Join(dir, fmt.Sprintf(".overlaydiff-%016x", rand.Uint64()))
}
