package refdiff

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"slices"
	"sort"
	"strings"
	"syscall"

	"github.com/pkg/xattr"
)

// Change is one difference between two trees.
type Change struct {
	Kind string // add, modify or delete
	Path string // absolute within the tree
	Type string // file, dir, symlink, char, block, fifo or socket; of a deleted path: what it was
	// What differs, only of a modify: "type" alone, or those of mode, uid, gid,
	// device, size, content, target, mtime and xattrs that do, in this order.
	What []string
	Size int64 // 0 of a directory; of a deleted path: what it was
}

// String returns the change as "C /path what,what".
func (c Change) String() string {
	s := map[string]string{"add": "A", "modify": "C", "delete": "D"}[c.Kind] + " " + c.Path
	if len(c.What) > 0 {
		s += " " + strings.Join(c.What, ",")
	}
	return s
}

// Diff returns the changes that make the tree old the tree new, parents before
// children, names in bytewise order. The roots themselves are not compared.
func Diff(old, new string) ([]Change, error) {
	before, after, err := readBoth(old, new)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, path := range union(before, after) {
		from, to := before[path], after[path]
		switch {
		case from == nil:
			changes = append(changes, Change{Kind: "add", Path: path, Type: to.kind, Size: to.size})
		case to == nil:
			// What was below a directory that is gone, or is none any more, went with it.
			if parent := after[dir(path)]; parent != nil && parent.kind == "dir" {
				changes = append(changes, Change{Kind: "delete", Path: path, Type: from.kind, Size: from.size})
			}
		default:
			what, err := differences(from, to)
			if err != nil {
				return nil, err
			}
			if len(what) > 0 {
				changes = append(changes, Change{Kind: "modify", Path: path, Type: to.kind, What: what, Size: to.size})
			}
		}
	}
	return changes, nil
}

// Size returns the bytes of the non-directories that are added or modified,
// every inode once.
func Size(old, new string) (int64, error) {
	changes, err := Diff(old, new)
	if err != nil {
		return 0, err
	}
	type inode struct{ dev, ino uint64 }
	seen, total := map[inode]bool{}, int64(0)
	for _, c := range changes {
		if c.Kind == "delete" || c.Type == "dir" {
			continue
		}
		st, err := stat(new + c.Path)
		if err != nil {
			return 0, err
		}
		if id := (inode{uint64(st.Dev), st.Ino}); !seen[id] {
			seen[id] = true
			total += c.Size
		}
	}
	return total, nil
}

// entry is all that is compared, but a file's content, which stays on disk.
type entry struct {
	path     string // to open it
	kind     string
	mode     uint32
	uid, gid uint32
	device   uint64
	size     int64
	mtime    syscall.Timespec
	target   string
	xattrs   map[string]string
}

func readBoth(old, new string) (before, after map[string]*entry, err error) {
	before, after = map[string]*entry{}, map[string]*entry{}
	if err := read(old, "/", before); err != nil {
		return nil, nil, err
	}
	if err := read(new, "/", after); err != nil {
		return nil, nil, err
	}
	return before, after, nil
}

// read adds the entry at path and, of a directory, all below it.
func read(root, path string, tree map[string]*entry) error {
	e, err := lstat(strings.TrimSuffix(root+path, "/"))
	if errors.Is(err, syscall.ENOENT) && path != "/" {
		return nil // overlayfs lists some whiteouts by name, but nothing is there
	}
	if err != nil {
		return err
	}
	tree[path] = e
	if e.kind != "dir" {
		return nil
	}
	names, err := os.ReadDir(e.path)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := read(root, strings.TrimSuffix(path, "/")+"/"+n.Name(), tree); err != nil {
			return err
		}
	}
	return nil
}

func stat(path string) (*syscall.Stat_t, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return info.Sys().(*syscall.Stat_t), nil
}

func lstat(path string) (*entry, error) {
	st, err := stat(path)
	if err != nil {
		return nil, err
	}
	e := &entry{path: path, mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid, size: st.Size, mtime: st.Mtim}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		e.kind = "file"
	case syscall.S_IFDIR:
		e.kind, e.size, e.mtime = "dir", 0, syscall.Timespec{}
	case syscall.S_IFLNK:
		e.kind, e.mode = "symlink", 0
		if e.target, err = os.Readlink(path); err != nil {
			return nil, err
		}
	case syscall.S_IFCHR:
		e.kind, e.device = "char", uint64(st.Rdev)
	case syscall.S_IFBLK:
		e.kind, e.device = "block", uint64(st.Rdev)
	case syscall.S_IFIFO:
		e.kind = "fifo"
	case syscall.S_IFSOCK:
		e.kind = "socket"
	}
	e.xattrs, err = xattrs(path)
	return e, err
}

func xattrs(path string) (map[string]string, error) {
	names, err := xattr.LList(path)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, name := range names {
		switch name {
		case "security.selinux", "security.ima", "security.evm", // the system's, not the container's
			"trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT": // of XFS: ACLs, which are there besides
			continue
		}
		value, err := xattr.LGet(path, name)
		if err != nil {
			return nil, err
		}
		values[name] = string(value)
	}
	return values, nil
}

func differences(a, b *entry) ([]string, error) {
	if a.kind != b.kind {
		return []string{"type"}, nil
	}
	var what []string
	differs := func(name string, yes bool) {
		if yes {
			what = append(what, name)
		}
	}
	differs("mode", a.mode != b.mode)
	differs("uid", a.uid != b.uid)
	differs("gid", a.gid != b.gid)
	differs("device", a.device != b.device)
	if a.kind == "file" {
		differs("size", a.size != b.size)
		same, err := sameContent(a.path, b.path)
		if err != nil {
			return nil, err
		}
		differs("content", !same)
	}
	differs("target", a.target != b.target)
	differs("mtime", a.mtime != b.mtime)
	differs("xattrs", !equal(a.xattrs, b.xattrs))
	return what, nil
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, value := range a {
		if other, ok := b[name]; !ok || other != value {
			return false
		}
	}
	return true
}

// sameContent reads both files to the end, whatever their sizes claim.
func sameContent(a, b string) (bool, error) {
	f, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer f.Close()
	g, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer g.Close()
	x, y := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, err1 := io.ReadFull(f, x)
		m, err2 := io.ReadFull(g, y)
		for _, err := range []error{err1, err2} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return false, err
			}
		}
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if n < len(x) {
			return true, nil
		}
	}
}

// union returns the paths of both trees but the root, in component order.
func union(a, b map[string]*entry) []string {
	var paths []string
	for path := range a {
		paths = append(paths, path)
	}
	for path := range b {
		if a[path] == nil {
			paths = append(paths, path)
		}
	}
	sort.Slice(paths, func(i, j int) bool {
		return slices.CompareFunc(strings.Split(paths[i], "/"), strings.Split(paths[j], "/"), cmp.Compare[string]) < 0
	})
	if len(paths) > 0 && paths[0] == "/" {
		paths = paths[1:]
	}
	return paths
}

// dir returns the parent of a path.
func dir(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}
