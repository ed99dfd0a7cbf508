// Package wholefile writes files that are there whole or not at all.
package wholefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/paths"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Write calls write with the file that becomes path, mode 0666 before umask. It has
// that name only once it is whole, and replaces what had the name before; what is no
// regular file, a fifo for example, is written to as it is. An error of write is
// returned, and nothing is left then.
//
// Links and fifos that another user put into a shared directory are refused
// ([paths.Output]); the error matches [fs.ErrPermission].
func Write(path string, write func(io.Writer) error) error {
	place, err := paths.Output(path, false)
	if err != nil {
		return writeError(path, err)
	}
	defer place.Close()
	if place.FD >= 0 && (place.Magic || place.Stat.Format() != sys.Regular) {
		return writeInto(path, place, write)
	}
	f, err := sys.TempFile(place.Dir(), path)
	if err != nil {
		return fmt.Errorf("write %s: make a file in its directory: %w", path, err)
	}
	defer f.Close() // what it would say of the data, Sync has said
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Publish(place.Name); err != nil {
		return fmt.Errorf("write %s: give it its name: %w", path, err)
	}
	return nil
}

// writeInto writes to what is there.
func writeInto(path string, place *paths.Place, write func(io.Writer) error) error {
	fd, err := place.OpenWrite()
	if err != nil {
		return writeError(path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	if place.Stat.Format() == sys.Regular { // /dev/stdout leads there
		if err := f.Truncate(0); err != nil {
			return errors.Join(writeError(path, err), f.Close())
		}
	}
	return errors.Join(write(f), f.Close())
}

// writeError names the path once, and what stands on its way if that is another.
func writeError(path string, err error) error {
	part, ok := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("write %s: it is a directory; name a file", path)
	case ok:
		return fmt.Errorf("write %s: %s: %w", path, part.Path, part.Err)
	}
	return fmt.Errorf("write %s: %w", path, err)
}
