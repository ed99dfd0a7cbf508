package scratch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Point is a mount point in a directory of our own, whose mode keeps others out whatever
// the mode of what is mounted.
type Point struct {
	// Path is absolute.
	Path   string
	parent *os.File
	dir    *Dir
}

const (
	pointPrefix = "overlaydiff-mount-"
	pointName   = "merged"
)

// NewPoint makes a mount point in the directory for temporary files, after removing those
// whose makers are gone, unless something is mounted there.
func NewPoint() (p *Point, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make a mount point: %w; set TMPDIR to a directory that can be written", err)
		}
	}()
	path, err := filepath.Abs(os.TempDir()) // TMPDIR may be relative
	if err != nil {
		return nil, err
	}
	parent, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	dir, err := create(parent, pointPrefix, removePoint)
	if err != nil {
		return nil, errors.Join(err, parent.Close())
	}
	p = &Point{Path: filepath.Join(path, dir.name, pointName), parent: parent, dir: dir}
	if err := os.Mkdir(p.Path, 0o700); err != nil {
		return nil, errors.Join(err, p.Remove())
	}
	return p, nil
}

// Remove removes the mount point and its directory: never what is in them.
func (p *Point) Remove() error {
	err := removePoint(p.dir.File, p.parent, p.dir.name)
	if err != nil {
		err = fmt.Errorf("remove the mount point: %w; remove it by hand", err)
	}
	return errors.Join(err, p.dir.File.Close(), p.parent.Close())
}

// removePoint is a [remover] that removes nothing but empty directories.
func removePoint(dir, parent *os.File, name string) error {
	err := sys.RmdirAt(int(dir.Fd()), pointName)
	if err == nil || errors.Is(err, syscall.ENOENT) {
		err = sys.RmdirAt(int(parent.Fd()), name)
	}
	if err != nil {
		return &fs.PathError{Op: "rmdir", Path: filepath.Join(parent.Name(), name), Err: err}
	}
	return nil
}
