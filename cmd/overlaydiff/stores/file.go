//go:build linux

package stores

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// How much of a file is read: far more than runtimes write.
const (
	maxWord     = 4 << 10  // one id or number
	maxObject   = 16 << 20 // one container or layer
	maxList     = 64 << 20 // all containers or layers of a store
	maxDatabase = 1 << 29  // containerd's have a few MiB
)

// And of the store of a user, of whom there may be many: all is in memory at once.
const (
	maxUsersFile     = 8 << 20
	maxUsersDatabase = 16 << 20
	maxEntries       = 1 << 16 // containers, layers or snapshots of a store
	maxUsersEntries  = 1 << 12
	maxUsersLayers   = 1 << 16 // of all its containers together
)

// limit is a limit for root's files as it is for this store.
func (e eyes) limit(most int64) int64 {
	switch {
	case e.user == 0:
		return most
	case most == maxDatabase:
		return maxUsersDatabase
	}
	return min(most, maxUsersFile)
}

// entries is how many entries a list of the store can have.
func (e eyes) entries() int {
	if e.user == 0 {
		return maxEntries
	}
	return maxUsersEntries
}

func tooLarge(path string, limit int64) error {
	return fmt.Errorf("read %s: it is larger than %d bytes, no runtime writes that: mend the store", diff.QuotePath(path), limit)
}

// readFile returns a file's content, with the errors of [eyes.file].
func (e eyes) readFile(path string, limit int64) ([]byte, error) {
	f, err := e.file(path, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path, e.limit(limit))
}

func readAll(f io.Reader, path string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, pathError(err, path)
	}
	if int64(len(data)) > limit { // it grew, or is one of /proc, which have no size
		return nil, tooLarge(path, limit)
	}
	return data, nil
}

// readJSON decodes a file that has one JSON value.
func (e eyes) readJSON(path string, limit int64, v any) error {
	data, err := e.readFile(path, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode %s: %w; is it being written, or damaged?", diff.QuotePath(path), err)
	}
	return nil
}

// readWord returns the content of a file of one word.
func (e eyes) readWord(path string) (string, error) {
	data, err := e.readFile(path, maxWord)
	return strings.TrimSpace(string(data)), err
}

// readID returns the id that a file contains.
func (e eyes) readID(path string) (string, error) {
	id, err := e.readWord(path)
	if err == nil && !isID(id) {
		err = fmt.Errorf("read %s: %q is no id: mend the store", diff.QuotePath(path), short(id))
	}
	return id, err
}

// listIDs returns the names in a directory that can be ids. A directory that
// does not exist has none.
func (e eyes) listIDs(path string) ([]string, error) {
	fd, _, err := e.open(path, sys.PathDir)
	if err != nil {
		return nil, unlessMissing(err)
	}
	defer sys.Close(fd)
	list, err := sys.OpenDirAt(fd, ".")
	if err != nil {
		return nil, pathError(err, path)
	}
	defer sys.Close(list)
	var ids []string
	err = sys.ReadDir(list, func(d sys.Dirent) bool {
		if name := strings.Clone(d.Name); isID(name) {
			ids = append(ids, name)
		}
		return len(ids) <= e.entries()
	})
	switch {
	case err != nil:
		return nil, pathError(err, path)
	case len(ids) > e.entries():
		return nil, fmt.Errorf("list %s: it has more than %d entries: mend the store", diff.QuotePath(path), e.entries())
	}
	slices.Sort(ids)
	return ids, nil
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
func short(s string) string { return cutWord(s, 80) }

func cutWord(s string, most int) string {
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// pathError makes an error of package os harmless to print, and adds the remedy.
func pathError(err error, path string) error {
	if foreign, ok := errors.AsType[*foreignError](err); ok {
		return fmt.Errorf("open %s: %w", diff.QuotePath(path), foreign)
	}
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // internal/sys returns it bare
		err = &fs.PathError{Op: "open", Path: path, Err: errno}
	}
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
