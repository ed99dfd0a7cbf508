package features

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// scratchPrefix begins the name of every scratch directory.
const scratchPrefix = ".overlaydiff-probe-"

// scratch is a directory of our own in the directory that is asked about. As
// long as the descriptor is open its lock says that somebody uses it.
type scratch struct {
	name string
	fd   *os.File
}

// newScratch makes a scratch directory in dir, after removing those whose makers
// are gone.
func newScratch(dir *os.File) (*scratch, error) {
	parent := fdPath(int(dir.Fd()))
	sweep(dir, parent)
	for range 10 {
		path, err := os.MkdirTemp(parent, scratchPrefix)
		if err != nil {
			return nil, err
		}
		s := &scratch{name: filepath.Base(path)}
		ours, err := s.lock(path)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(path))
		}
		if ours {
			return s, nil
		}
		// Between mkdir and the lock somebody took it for a leftover.
	}
	return nil, errors.New("make a scratch directory: others remove it again and again; try again")
}

// lock opens and locks the directory, and reports whether that was in time.
func (s *scratch) lock(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// Some file systems have no locks. Then nothing is ever swept there either.
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	var st unix.Stat_t
	if err == unix.EWOULDBLOCK || unix.Fstat(int(f.Fd()), &st) != nil || st.Nlink == 0 {
		return false, f.Close()
	}
	s.fd = f
	return true, nil
}

// path names the directory whatever happens to its name, without any byte that
// mount options would have to escape.
func (s *scratch) path() string { return fdPath(int(s.fd.Fd())) }

// remove removes the directory, and all that is in it, from dir.
func (s *scratch) remove(dir *os.File) error {
	err := removeAll(fdPath(int(dir.Fd())) + "/" + s.name)
	if err != nil {
		err = fmt.Errorf("remove the scratch directory %s: %w; remove it by hand", s.name, bare(err))
	}
	return errors.Join(err, s.fd.Close())
}

// removeAll removes a scratch directory. What overlayfs makes in a work directory
// is closed to its own owner.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() { // called before it is read
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	return os.RemoveAll(path)
}

// sweep removes scratch directories which nobody uses. Whatever goes wrong,
// the next run tries again.
func sweep(dir *os.File, parent string) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, name := range names {
		if strings.HasPrefix(name, scratchPrefix) {
			sweepOne(parent, name)
		}
	}
}

func sweepOne(parent, name string) {
	f, err := os.OpenFile(parent+"/"+name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || int(st.Uid) != os.Geteuid() {
		return
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	// The lock is on what was opened; the name may be another's by now.
	var now unix.Stat_t
	if unix.Lstat(parent+"/"+name, &now) == nil && now.Ino == st.Ino && now.Dev == st.Dev {
		_ = removeAll(parent + "/" + name)
	}
}

func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// place is the scratch directory of one probe.
type place string

// place makes a subdirectory. Layers that a probe doesn't name are not made.
func (s *session) place() (place, error) {
	sc, err := s.scratchDir()
	if err != nil {
		return "", err
	}
	s.places++
	p := place(fmt.Sprintf("%s/%d", sc.path(), s.places))
	return p, os.Mkdir(string(p), 0o755)
}

// common is a place for probes that choose names of their own and leave nothing
// that others mind: making and removing directories is most of the work.
func (s *session) common() (place, error) {
	if s.shared.common != "" {
		return s.shared.common, nil
	}
	p, err := s.place()
	if err == nil {
		s.shared.common = p
	}
	return p, err
}

func (p place) in(name string) string { return string(p) + "/" + name }

// make makes what the words name: "l1/d/" a directory, with those above it,
// "l1/f" a file with a few bytes in it, "l1/e=" an empty one, "l2/x" hard links "a<b".
func (p place) make(words ...string) error {
	for _, w := range words {
		if err := p.makeOne(w); err != nil {
			return err
		}
	}
	return nil
}

func (p place) makeOne(word string) error {
	if dir, ok := strings.CutSuffix(word, "/"); ok {
		return os.MkdirAll(p.in(dir), 0o755)
	}
	if i := strings.LastIndexByte(word, '/'); i > 0 {
		if err := os.MkdirAll(p.in(word[:i]), 0o755); err != nil {
			return err
		}
	}
	if name, target, ok := strings.Cut(word, "<"); ok {
		return os.Link(p.in(target), p.in(name))
	}
	if name, ok := strings.CutSuffix(word, "="); ok {
		return os.WriteFile(p.in(name), nil, 0o644)
	}
	return os.WriteFile(p.in(word), []byte("data\n"), 0o644)
}

// set sets an extended attribute.
func set(path, name, value string) error {
	if err := unix.Lsetxattr(path, name, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// get returns an extended attribute, and false if it is not there.
func get(path, name string) (string, bool, error) {
	var b [256]byte
	n, err := unix.Lgetxattr(path, name, b[:])
	switch {
	case err == unix.ENODATA:
		return "", false, nil
	case err != nil:
		return "", false, unsure(fmt.Errorf("get %s: %w", name, err))
	}
	return string(b[:n]), true, nil
}

// inode returns the stat of path, which is not followed.
func inode(path string) (syscall.Stat_t, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return st, fmt.Errorf("stat: %w", err)
	}
	return st, nil
}
