package rawref

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pkg/xattr"
)

// Entry is what a mount shows at a path.
type Entry struct {
	Err    syscall.Errno // of lstat; nothing else counts then
	Listed bool          // the directory's listing has the name
	// Unlistable: the directory can't be listed, perhaps only once names in it were
	// looked up. An impure directory is that if one name in it can't be looked up.
	Unlistable bool

	Kind     string
	Mode     uint32
	UID, GID uint32
	Device   uint64
	Size     int64
	Mtime    syscall.Timespec
	Target   string
	Xattrs   map[string]string
	Content  string
	Read     syscall.Errno // of reading the content

	Dev, Ino, Nlink uint64
}

// ErrTooMany says that a tree has more entries than are worth reading.
var ErrTooMany = errors.New("too many entries")

// Read returns what the mount at root shows, by path; names are looked up in every
// directory, listed or not.
func Read(root string, names []string, most int) (map[string]*Entry, error) {
	r := reader{root, names, most, map[string]*Entry{}}
	if err := r.directory(""); err != nil {
		return nil, err
	}
	return r.tree, r.relist("")
}

// relist lists a directory, and all below, once more: looking names up in a directory
// can have it leave out those that can't be looked up.
func (r *reader) relist(path string) error {
	if err := r.forget(); err != nil {
		return err
	}
	list, err := list(r.root + path)
	if e := r.tree[path]; e != nil {
		e.Unlistable = e.Unlistable || err != nil
	}
	listed := map[string]bool{}
	for _, d := range list {
		listed[path+"/"+d.Name()] = true
	}
	for at, e := range r.tree {
		if strings.TrimSuffix(filepath.Dir(at), "/") != path {
			continue
		}
		e.Listed = e.Listed && listed[at]
		if e.Err == 0 && e.Kind == "dir" {
			if err := r.relist(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// list lists a directory. The error of a name that can't be looked up is that of the
// first listing only: the next one of the open directory leaves it out.
func list(path string) (names []os.DirEntry, err error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	for range 100 {
		if names, err = d.ReadDir(-1); err == nil {
			return names, nil
		}
		if _, err := d.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
	}
	return nil, err
}

type reader struct {
	root  string
	names []string
	most  int
	tree  map[string]*Entry
}

// forget has the mount drop all names that it has cached: remounting does that.
func (r *reader) forget() error {
	err := syscall.Mount("overlay", r.root, "overlay", syscall.MS_REMOUNT|syscall.MS_NODEV, "")
	if err == syscall.EROFS {
		err = syscall.Mount("overlay", r.root, "overlay", syscall.MS_REMOUNT|syscall.MS_NODEV|syscall.MS_RDONLY, "")
	}
	return os.NewSyscallError("remount", err)
}

// directory reads what is in a directory.
func (r *reader) directory(path string) error {
	if err := r.forget(); err != nil {
		return err
	}
	list, err := list(r.root + path)
	if e := r.tree[path]; err != nil && e != nil {
		e.Unlistable = true // what is in it can be looked up all the same
	}
	names := slices.Clone(r.names)
	listed := map[string]bool{}
	for _, d := range list {
		listed[d.Name()] = true
		if !slices.Contains(names, d.Name()) {
			names = append(names, d.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names {
		e, err := r.entry(path + "/" + name)
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		if e.Listed = listed[name]; len(r.tree) >= r.most {
			return ErrTooMany
		}
		r.tree[path+"/"+name] = e
		if e.Err == 0 && e.Kind == "dir" {
			if err := r.directory(path + "/" + name); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry reads what is at a path, nil: nothing.
func (r *reader) entry(path string) (*Entry, error) {
	if err := r.forget(); err != nil {
		return nil, err
	}
	info, err := os.Lstat(r.root + path)
	if errors.Is(err, syscall.ENOENT) {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	if err != nil {
		return &Entry{Err: errno(err)}, nil
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	e := &Entry{
		Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Size: st.Size, Mtime: st.Mtim,
		Dev: st.Dev, Ino: st.Ino, Nlink: uint64(st.Nlink), //nolint:unconvert // 32 bits elsewhere
	}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		e.Kind, e.Size, e.Mtime = "dir", 0, syscall.Timespec{}
	case syscall.S_IFREG:
		e.Kind = "file"
		e.Content, e.Read = content(r.root + path)
	case syscall.S_IFLNK:
		e.Kind, e.Mode = "symlink", 0
		if e.Target, err = os.Readlink(r.root + path); err != nil {
			return nil, err
		}
	case syscall.S_IFCHR:
		e.Kind, e.Device = "char", st.Rdev
	case syscall.S_IFBLK:
		e.Kind, e.Device = "block", st.Rdev
	case syscall.S_IFIFO:
		e.Kind = "fifo"
	case syscall.S_IFSOCK:
		e.Kind = "socket"
	}
	e.Xattrs, err = xattrs(r.root + path)
	return e, err
}

// content reads a file to its end, whatever its size claims.
func content(path string) (string, syscall.Errno) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", errno(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), errno(err)
}

func xattrs(path string) (map[string]string, error) {
	names, err := xattr.LList(path)
	if err != nil && !errors.Is(err, syscall.EOPNOTSUPP) {
		return nil, err
	}
	values := map[string]string{}
	for _, name := range names {
		switch name {
		case "security.selinux", "security.ima", "security.evm", "trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT":
			continue
		}
		v, err := xattr.LGet(path, name)
		if err != nil {
			return nil, err
		}
		values[name] = string(v)
	}
	return values, nil
}

func errno(err error) (n syscall.Errno) {
	if err != nil && !errors.As(err, &n) {
		n = syscall.EIO
	}
	return n
}
