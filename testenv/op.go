package testenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Op is one mutation of a tree. Path is what it is done to, or what it makes:
//
//	create      PATH CONTENT     a file; one that exists is emptied first
//	write       PATH CONTENT     append
//	rewrite     PATH             other content; same size, same mtime
//	open        PATH             open for writing, write nothing
//	truncate    PATH SIZE
//	chmod       PATH OCTAL
//	chown       PATH UID:GID
//	setxattr    PATH NAME=VALUE
//	removexattr PATH NAME
//	acl         PATH [default:]UID:PERM   an ACL that names one user; PERM is 0 to 7
//	capability  PATH HEX         security.capability, version 2, permitted mask
//	utimes      PATH SECONDS[.FRACTION]
//	unlink      PATH
//	rmdir       PATH
//	rmtree      PATH             a directory with all that is in it
//	mkdir       PATH [OCTAL]
//	rename      PATH NEWPATH
//	exchange    PATH OTHERPATH
//	link        PATH NEWPATH
//	tmpfile     PATH CONTENT     O_TMPFILE, then linked to PATH
//	mknod       PATH KIND[:MAJ:MIN]   char, block, fifo, socket
//	symlink     PATH TARGET
//	retarget    PATH TARGET      a symbolic link replaced by another, mtime kept
//	todir       PATH             whatever is there replaced by a directory
//	tofile      PATH CONTENT     whatever is there replaced by a file
type Op struct {
	Verb string
	Path string // relative to the root of the tree, as is a path in Arg
	Arg  string
}

// String returns the operation as the line that [ParseOp] reads.
func (o Op) String() string {
	s := o.Verb + " " + quote(o.Path)
	if o.Arg == "" {
		return s
	}
	return s + " " + quote(o.Arg)
}

// ParseOp reads one line.
func ParseOp(line string) (Op, error) {
	w, err := words(line)
	if err != nil {
		return Op{}, fmt.Errorf("operation %q: %w", line, err)
	}
	if len(w) < 2 || len(w) > 3 || verbs[w[0]] == nil {
		return Op{}, fmt.Errorf("operation %q: want a verb, a path and perhaps an argument", line)
	}
	return Op{Verb: w[0], Path: w[1], Arg: strings.Join(w[2:], "")}, nil
}

// Apply does the operation on the tree at root.
func (o Op) Apply(root string) error {
	do := verbs[o.Verb]
	if do == nil {
		return fmt.Errorf("no verb %q", o.Verb)
	}
	arg := o.Arg
	if twoPathVerbs[o.Verb] {
		arg = filepath.Join(root, arg)
	}
	if err := do(filepath.Join(root, o.Path), arg); err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	return nil
}

// Do applies lines of operations, all of which must succeed. As in [Tree],
// empty lines and lines that begin with # say nothing.
func Do(tb testing.TB, root string, lines ...string) {
	tb.Helper()
	for line := range strings.SplitSeq(strings.Join(lines, "\n"), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		op, err := ParseOp(line)
		if err == nil {
			err = op.Apply(root)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// Attempt applies the operations as far as they are possible: one that is
// refused for a reason which [Refused] knows is simply not done.
func Attempt(root string, ops []Op) error {
	for _, op := range ops {
		if err := op.Apply(root); err != nil && !Refused(err) {
			return err
		}
	}
	return nil
}

// Refused reports whether an error says that an operation makes no sense where
// it was tried, and nothing worse, as EIO or ENOSPC would be.
func Refused(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.ENOENT, syscall.EEXIST, syscall.ENOTDIR, syscall.EISDIR, syscall.ENOTEMPTY,
		syscall.EXDEV, syscall.EPERM, syscall.EACCES, syscall.EBUSY, syscall.EINVAL, syscall.ELOOP,
		syscall.EOPNOTSUPP, syscall.EOVERFLOW, syscall.ENXIO, syscall.ENODATA, syscall.ENAMETOOLONG, syscall.EMLINK,
		syscall.ESTALE: // overlayfs, of a name whose inode it has under another one
		return true
	}
	return false
}

// lstat returns what is at path itself.
func lstat(path string) (*syscall.Stat_t, fs.FileMode, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, 0, err
	}
	return info.Sys().(*syscall.Stat_t), info.Mode(), nil
}

// regular returns an error unless path is a regular file: a fifo would block
// who opens it, and a device is none of our business.
func regular(op, path string) (*syscall.Stat_t, error) {
	st, mode, err := lstat(path)
	if err == nil && !mode.IsRegular() {
		err = pathError(op, path, syscall.EINVAL)
	}
	return st, err
}
