//go:build linux

package stores

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
)

// How much of a file is read: far more than runtimes write.
const (
	maxWord   = 4 << 10  // one id or number
	maxObject = 16 << 20 // one container or layer
	maxList   = 64 << 20 // all containers or layers of a store
)

// openFile opens a file. It is an error if that is not a regular file (a link as
// the last name is not followed) or larger than limit.
func openFile(path string, limit int64) (*os.File, error) {
	if err := checkLinks(path); err != nil {
		return nil, err
	}
	// Not to wait for a writer if it is a fifo.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, pathError(err, path)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = pathError(err, path)
	case !info.Mode().IsRegular():
		err = fmt.Errorf("read %s: it is no regular file: mend the store", diff.QuotePath(path))
	case info.Size() > limit:
		err = tooLarge(path, limit)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func tooLarge(path string, limit int64) error {
	return fmt.Errorf("read %s: it is larger than %d bytes, no runtime writes that: mend the store", diff.QuotePath(path), limit)
}

// readFile returns a file's content, with the errors of [openFile].
func readFile(path string, limit int64) ([]byte, error) {
	f, err := openFile(path, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, pathError(err, path)
	}
	if int64(len(data)) > limit { // those of /proc have no size
		return nil, tooLarge(path, limit)
	}
	return data, nil
}

// readJSON decodes a file that has one JSON value.
func readJSON(path string, limit int64, v any) error {
	data, err := readFile(path, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode %s: %w; is it being written, or damaged?", diff.QuotePath(path), err)
	}
	return nil
}

// readWord returns the content of a file of one word.
func readWord(path string) (string, error) {
	data, err := readFile(path, maxWord)
	return strings.TrimSpace(string(data)), err
}

// readID returns the id that a file contains.
func readID(path string) (string, error) {
	id, err := readWord(path)
	if err == nil && !isID(id) {
		err = fmt.Errorf("read %s: %q is no id: mend the store", diff.QuotePath(path), short(id))
	}
	return id, err
}

// listIDs returns the names in a directory that can be ids. A directory that
// does not exist has none.
func listIDs(dir string) ([]string, error) {
	if err := checkLinks(dir); err != nil {
		return nil, unlessMissing(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, pathError(err, dir)
	}
	var ids []string
	for _, e := range entries {
		if isID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// checkDir returns an error if path is no directory, or is a link.
func checkDir(path string) error {
	if err := checkLinks(path); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return pathError(err, path)
	case !info.IsDir():
		return fmt.Errorf("find the layer directory %s: it is no directory: mend the store", diff.QuotePath(path))
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// isID reports whether id is one plain name that can be part of a path. Docker,
// Podman and iSulad make 64 hexadecimal digits; containers/storage takes from
// its callers what they like.
func isID(id string) bool {
	if id == "" || len(id) > 128 || !isAlnum(id[0]) {
		return false
	}
	for i := range len(id) {
		if !isAlnum(id[i]) && !strings.ContainsRune("_.-", rune(id[i])) {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// sha256Hex returns the digits of a digest "sha256:…".
func sha256Hex(digest string) (string, bool) {
	digits, ok := strings.CutPrefix(digest, "sha256:")
	return digits, ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// short cuts what is printed of an untrusted word.
func short(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// pathError makes an error of package os harmless to print, and adds the remedy.
func pathError(err error, path string) error {
	remedy := "is the store mounted here?"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		remedy = "it was removed meanwhile, or the store is damaged"
	case errors.Is(err, fs.ErrPermission):
		remedy = "run as root, or as the owner of the store"
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%w; %s", &fs.PathError{Op: p.Op, Path: diff.QuotePath(path), Err: p.Err}, remedy)
	}
	return fmt.Errorf("%s: %w; %s", diff.QuotePath(filepath.Clean(path)), err, remedy)
}

// and returns both errors, of which either may be nil, in one line.
func and(err, other error) error {
	switch {
	case other == nil:
		return err
	case err == nil:
		return other
	}
	return fmt.Errorf("%w; and %w", err, other)
}
