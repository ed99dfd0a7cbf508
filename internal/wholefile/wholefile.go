// Package wholefile writes files that are there whole or not at all.
package wholefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Write calls write with the file that becomes path, mode 0666 before umask. It has
// that name only once it is whole, and replaces what had the name before; what is no
// regular file, a fifo for example, is written to as it is. An error of write is
// returned, and nothing is left then.
func Write(path string, write func(io.Writer) error) error {
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		return errors.Join(write(f), f.Close())
	}
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to // what a link leads to is replaced, not the link
	}
	f, err := sys.TempFile(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, &fs.PathError{Op: "make a file in", Path: filepath.Dir(path), Err: err})
	}
	defer f.Close() // what it would say of the data, Sync has said
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := sys.Publish(f, path); err != nil {
		return fmt.Errorf("write %s: give it its name: %w", path, err)
	}
	return nil
}
