package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/xattr"
)

// DefaultMtime is the modification time, in seconds, of all that [Tree] makes
// and that has no mtime of its own: equal lines make equal files.
const DefaultMtime = 1_000_000_000

// Tree makes what the lines say below root, which is made if it is missing. A
// line is
//
//	dir      PATH          ATTRIBUTE…    parents need no line of their own
//	file     PATH          ATTRIBUTE…    also content=TEXT, size=BYTES (the rest is a hole)
//	symlink  PATH -> TARGET ATTRIBUTE…
//	link     PATH OLDPATH                a hard link
//	char     PATH MAJ:MIN  ATTRIBUTE…    also block
//	fifo     PATH          ATTRIBUTE…    also socket
//	whiteout PATH          ATTRIBUTE…    a character device 0:0, mode 0
//
// with the attributes mode=OCTAL uid=N gid=N mtime=SECONDS[.FRACTION] (owner: the
// process's own, unless said) and
// xattr.NAME=VALUE, set as they are: overlay's markers can be written by hand.
// "dir . mode=0700" is root itself, and a dir line on a directory that exists
// changes it. A string may hold several lines; empty lines and lines that begin
// with # say nothing.
func Tree(tb testing.TB, root string, lines ...string) {
	tb.Helper()
	if err := MakeTree(root, lines...); err != nil {
		tb.Fatal(err)
	}
}

// MakeTree is [Tree] that returns its error.
func MakeTree(root string, lines ...string) error {
	nodes := []node{}
	for line := range strings.SplitSeq(strings.Join(lines, "\n"), "\n") {
		n, err := parseNode(line)
		if err != nil {
			return fmt.Errorf("tree line %q: %w", strings.TrimSpace(line), err)
		}
		if n.kind != "" {
			nodes = append(nodes, n)
		}
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	dirs := map[string]node{} // their times are set at last: what is made in them changes those
	for _, n := range nodes {
		for dir := filepath.Dir(n.path); dir != "." && dir != "/"; dir = filepath.Dir(dir) {
			if _, known := dirs[dir]; !known {
				dirs[dir] = node{mtime: syscall.Timespec{Sec: DefaultMtime}}
			}
		}
		if err := n.make(root); err != nil {
			return err
		}
		if n.kind == "dir" {
			dirs[filepath.Clean(n.path)] = n
		}
	}
	for path, n := range dirs {
		if err := setTimes(filepath.Join(root, path), n.mtime); err != nil {
			return err
		}
	}
	return nil
}

// node is one parsed line of a tree.
type node struct {
	kind, path, arg string // arg: target, old path or device number
	content         string
	size            int64
	mode            int64 // -1: the kind's default
	uid, gid        int
	mtime           syscall.Timespec
	xattrs          [][2]string
}

var nodeArgs = map[string]bool{ // kind → has an argument
	"dir": false, "file": false, "symlink": true, "link": true, "char": true,
	"block": true, "fifo": false, "socket": false, "whiteout": false,
}

func parseNode(line string) (node, error) {
	n := node{mode: -1, size: -1, uid: os.Geteuid(), gid: os.Getegid(), mtime: syscall.Timespec{Sec: DefaultMtime}}
	if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
		return n, nil
	}
	w, err := words(line)
	if err != nil || len(w) == 0 {
		return n, err
	}
	hasArg, known := nodeArgs[w[0]]
	if !known || len(w) < 2 {
		return n, fmt.Errorf("want a kind and a path")
	}
	n.kind, n.path, w = w[0], w[1], w[2:]
	if n.kind == "symlink" && len(w) > 0 && w[0] == "->" {
		w = w[1:]
	}
	if hasArg {
		if len(w) == 0 {
			return n, fmt.Errorf("%s needs one more word", n.kind)
		}
		n.arg, w = w[0], w[1:]
	}
	for _, word := range w {
		if err := n.set(word); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (n *node) set(word string) (err error) {
	key, value, ok := strings.Cut(word, "=")
	name, isXattr := strings.CutPrefix(key, "xattr.")
	switch {
	case !ok:
		err = fmt.Errorf("%q is not key=value", word)
	case isXattr:
		n.xattrs = append(n.xattrs, [2]string{name, value})
	case key == "content":
		n.content = value
	case key == "size":
		n.size, err = strconv.ParseInt(value, 10, 64)
	case key == "mode":
		n.mode, err = strconv.ParseInt(value, 8, 32)
	case key == "uid":
		n.uid, err = strconv.Atoi(value)
	case key == "gid":
		n.gid, err = strconv.Atoi(value)
	case key == "mtime":
		n.mtime, err = parseTime(value)
	default:
		err = fmt.Errorf("unknown attribute %q", key)
	}
	return err
}

// parseTime reads seconds with an optional fraction; "-1.5" is half a second
// after the second -1, as inodes count.
func parseTime(s string) (syscall.Timespec, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return syscall.Timespec{}, err
	}
	if len(fraction) > 9 {
		return syscall.Timespec{}, fmt.Errorf("time %q is finer than a nanosecond", s)
	}
	nsec, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if err != nil {
		return syscall.Timespec{}, err
	}
	var t syscall.Timespec
	if !fit(&t.Sec, sec) || !fit(&t.Nsec, nsec) {
		return t, fmt.Errorf("time %q: %w", s, syscall.ERANGE)
	}
	return t, nil
}

// fit sets a field whose width depends on the architecture, and reports whether the value fits.
func fit[T int32 | int64](field *T, value int64) bool {
	*field = T(value)
	return int64(*field) == value
}

func (n *node) make(root string) error {
	path := filepath.Join(root, n.path)
	if err := makeParents(root, filepath.Dir(n.path)); err != nil {
		return err
	}
	if err := n.create(root, path); err != nil || n.kind == "link" {
		return err
	}
	if err := os.Lchown(path, n.uid, n.gid); err != nil {
		return err
	}
	if n.kind != "symlink" { // after chown, which clears setuid
		if err := syscall.Chmod(path, n.permissions()); err != nil {
			return pathError("chmod", path, err)
		}
	}
	for _, x := range n.xattrs { // at last: chown clears capabilities
		if err := xattr.LSet(path, x[0], []byte(x[1])); err != nil {
			return err
		}
	}
	return setTimes(path, n.mtime)
}

// makeParents is MkdirAll whatever the umask.
func makeParents(root, dir string) error {
	if dir == "." || dir == "/" {
		return nil
	}
	path := filepath.Join(root, dir)
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := makeParents(root, filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

func (n *node) create(root, path string) error {
	switch n.kind {
	case "dir":
		if info, err := os.Lstat(path); err == nil && info.IsDir() {
			return nil
		}
		return os.Mkdir(path, 0o755)
	case "file":
		if err := createFile(path, n.content, os.O_EXCL); err != nil || n.size < 0 {
			return err
		}
		return os.Truncate(path, n.size)
	case "symlink":
		return os.Symlink(n.arg, path)
	case "link":
		return os.Link(filepath.Join(root, n.arg), path)
	case "whiteout":
		return makeSpecial(path, "char", "0:0")
	default:
		return makeSpecial(path, n.kind, n.arg)
	}
}

func (n *node) permissions() uint32 {
	switch {
	case n.mode >= 0:
		return uint32(n.mode)
	case n.kind == "dir":
		return 0o755
	case n.kind == "whiteout":
		return 0
	}
	return 0o644
}

// makeSpecial makes a char, block, fifo or socket.
func makeSpecial(path, kind, device string) error {
	mode, known := map[string]uint32{
		"char": syscall.S_IFCHR, "block": syscall.S_IFBLK, "fifo": syscall.S_IFIFO, "socket": syscall.S_IFSOCK,
	}[kind]
	if !known {
		return fmt.Errorf("no special file of kind %q", kind)
	}
	rdev := uint64(0)
	if kind == "char" || kind == "block" {
		major, minor, ok := strings.Cut(device, ":")
		ma, err1 := strconv.ParseUint(major, 10, 12)
		mi, err2 := strconv.ParseUint(minor, 10, 20)
		if !ok || err1 != nil || err2 != nil {
			return fmt.Errorf("%q is no device number MAJ:MIN", device)
		}
		rdev = mi&0xff | ma<<8 | (mi&^0xff)<<12
	}
	return pathError("mknod", path, syscall.Mknod(path, mode|0o644, int(rdev)))
}

func createFile(path, content string, flags int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|flags, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
