// Package scratch makes directories of our own in somebody else's. Each is locked
// as long as it is used, so that one whose maker was killed is told from one in
// use, and removed by whoever makes the next.
package scratch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Dir is a directory of our own. As long as the descriptor is open its lock says
// that somebody uses it.
type Dir struct {
	File *os.File // the directory
	name string
}

// New makes a directory in parent with a name that begins with prefix, for its
// owner only, after removing those whose makers are gone.
func New(parent *os.File, prefix string) (*Dir, error) {
	return create(parent, prefix, removeAll)
}

// remover removes a directory of ours, which is open, and its name in parent.
type remover func(dir, parent *os.File, name string) error

func create(parent *os.File, prefix string, remove remover) (*Dir, error) {
	path := fdPath(parent)
	sweep(parent, path, prefix, remove)
	for range 10 {
		made, err := os.MkdirTemp(path, prefix)
		if err != nil {
			return nil, err
		}
		d := &Dir{name: filepath.Base(made)}
		ours, err := d.lock(made)
		if err != nil {
			return nil, errors.Join(err, os.Remove(made))
		}
		if ours {
			return d, nil
		}
		// Between mkdir and the lock somebody took it for a leftover.
	}
	return nil, errors.New("make a scratch directory: others remove it again and again; try again")
}

// lock opens and locks the directory, and reports whether that was in time.
func (d *Dir) lock(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// Some file systems have no locks. Then nothing is ever swept there either.
	taken := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == syscall.EWOULDBLOCK
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return false, errors.Join(&fs.PathError{Op: "fstat", Path: path, Err: err}, f.Close())
	}
	if taken || st.Nlink == 0 {
		return false, f.Close()
	}
	d.File = f
	return true, nil
}

// Path names the directory whatever happens to its name, without any byte that
// mount options would have to escape.
func (d *Dir) Path() string { return fdPath(d.File) }

// Remove removes the directory, and all that is in it, from the parent in which it
// was made.
func (d *Dir) Remove(parent *os.File) error {
	err := removeAll(d.File, parent, d.name)
	if err != nil {
		err = fmt.Errorf("remove the scratch directory %s: %w; remove it by hand", d.name, bare(err))
	}
	return errors.Join(err, d.File.Close())
}

// bare takes the path, which is of no meaning to others, off an error of os.
func bare(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", path.Op, path.Err)
	}
	return err
}

// removeAll removes a scratch directory, which is open, and its name in parent. Who may
// write to parent can have given the name to another directory: that one stays, unless it
// is empty. A child process that is ending may make something there for a moment longer.
func removeAll(dir, parent *os.File, name string) error {
	const most = 100 * time.Millisecond
	for wait := time.Millisecond; ; wait *= 2 {
		err := clear(fdPath(dir))
		if err == nil {
			if err = sys.RmdirAt(int(parent.Fd()), name); err != nil {
				err = &fs.PathError{Op: "rmdir", Path: name, Err: err}
			}
		}
		if !errors.Is(err, syscall.ENOTEMPTY) || wait > most {
			return err
		}
		time.Sleep(wait)
	}
}

// clear removes all that is in a directory. What overlayfs makes in a work directory is
// closed to its own owner.
func clear(path string) error {
	err := removeEach(path)
	if errors.Is(err, syscall.EMFILE) { // it holds a descriptor a level
		err = empty(path)
	}
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path+"/.", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() { // called before it is read
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	return removeEach(path)
}

func removeEach(path string) error {
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(path, e.Name())))
	}
	return err
}

// sweep removes scratch directories which nobody uses. Whatever goes wrong,
// the next run tries again.
func sweep(dir *os.File, parent, prefix string, remove remover) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			sweepOne(dir, parent, name, remove)
		}
	}
}

func sweepOne(dir *os.File, parent, name string, remove remover) {
	f, err := os.OpenFile(parent+"/"+name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	var st syscall.Stat_t
	if syscall.Fstat(int(f.Fd()), &st) != nil || int(st.Uid) != os.Geteuid() {
		return
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return
	}
	// The lock is on what was opened; the name may be another's by now.
	var now syscall.Stat_t
	if syscall.Lstat(parent+"/"+name, &now) == nil && now.Ino == st.Ino && now.Dev == st.Dev {
		_ = remove(f, dir, name)
	}
}

func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
