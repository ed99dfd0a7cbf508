package sys

import (
	"fmt"
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
		name := tempName(filepath.Dir(path)) // linkat replaces nothing, rename does
		if err := LinkFollow(fmt.Sprintf("/proc/self/fd/%d", t.Fd()), name); err != nil {
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

func tempName(dir string) string {
	return filepath.Join(dir, fmt.Sprintf(".overlaydiff-%016x", rand.Uint64()))
}
