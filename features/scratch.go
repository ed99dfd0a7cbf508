package features

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// scratchPrefix begins the name of every scratch directory.
const scratchPrefix = ".overlaydiff-probe-"

// place is the scratch directory of one probe.
type place string

// place makes a subdirectory. Layers that a probe doesn't name are not made.
func (s *session) place() (place, error) {
	sc, err := s.scratchDir()
	if err != nil {
		return "", err
	}
	s.places++
	p := place(fmt.Sprintf("%s/%d", sc.Path(), s.places))
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

// fdPath names what is open without any byte that mount options would have to
// escape.
func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
