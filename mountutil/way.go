//go:build linux

package mountutil

import (
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/internal/witness"
)

// way is a way to a directory. It can be gone any number of times; it holds nothing open.
type way struct {
	// pid is a process in whose mount namespace, and below whose root, the path leads to
	// the directory. 0: those of the calling thread.
	pid  int
	path string
	// uncover is how many mounts have to be taken off the path first, in a copy of the
	// mount namespace.
	uncover int
}

// name is the path by which a stack names the directory.
func (w way) name() string {
	if w.pid != 0 {
		return procRoot(w.pid) + w.path
	}
	return w.path
}

func procRoot(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/root" }

// opened is a directory to which a way led.
type opened struct {
	fd int
	// link is when the symbolic link at the end of the path was changed last, zero if there
	// is no link.
	link sys.Timespec
	// parent is the directory that has this one, zero if that is not known.
	parent sys.Identity
}

// open opens the directory for reading.
func (w way) open() (o opened, err error) {
	switch {
	case w.uncover > 0:
		o, err = w.detached()
		if err == nil {
			tree := o.fd
			o.fd, err = sys.OpenDirAt(tree, ".")
			sys.Close(tree)
		}
	case w.pid != 0:
		if o.fd, err = openInRoot(procRoot(w.pid), w.path); err == nil {
			o.link = linkCtime(w.name())
			o.above()
		}
	default:
		o, err = openDir(w.path, unix.O_RDONLY)
	}
	if err != nil {
		return o, &fs.PathError{Op: "open", Path: diff.QuotePath(w.name()), Err: err}
	}
	return o, nil
}

// openDir opens the directory at a path.
func openDir(path string, flags int) (o opened, err error) {
	flags |= unix.O_DIRECTORY
	o.fd, err = sys.Open(unix.AT_FDCWD, path, flags|unix.O_NOFOLLOW)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		if o.fd, err = sys.Open(unix.AT_FDCWD, path, flags); err == nil {
			o.link = linkCtime(path)
		}
	}
	if err == nil {
		o.above()
	}
	return o, err
}

// above finds the parent. The root of a detached mount is its own.
func (o *opened) above() {
	if sys.IdentityAt(o.fd, "..", &o.parent) != nil {
		o.parent = sys.Identity{}
	}
}

// linkCtime returns when the inode at the end of a path was changed last. If that is not known,
// it may be any moment ago.
func linkCtime(path string) sys.Timespec {
	ctime, err := sys.LinkCtime(path)
	if err != nil {
		ctime.Sec = math.MaxInt64
	}
	return ctime
}

// detached returns a detached copy of the mount at the directory, which a thread can
// mount in another namespace.
func (w way) detached() (o opened, err error) {
	if w.uncover == 0 {
		if o, err = w.open(); err != nil {
			return o, err
		}
		defer unix.Close(o.fd)
	}
	tree := -1
	err = inNamespace(w.pid, w.uncover > 0, func(proc int) error {
		if w.uncover > 0 {
			if o, err = uncover(proc, w.path, w.uncover); err != nil {
				return err
			}
			defer unix.Close(o.fd)
		}
		tree, err = mounting.Copy(o.fd)
		return err
	})
	return opened{tree, o.link, o.parent}, err
}

// openInRoot opens the directory path below root for reading. root is its root: symbolic
// links and ".." stay below it.
func openInRoot(root, path string) (fd int, err error) {
	dir, err := sys.Open(unix.AT_FDCWD, root, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	path = strings.TrimLeft(path, "/")
	if path == "" {
		path = "."
	}
	err = sys.Retry(func() error {
		fd, err = unix.Openat2(dir, path, &unix.OpenHow{
			Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		return err
	})
	return fd, err
}

// proven is the opener of a stack whose directories were found and proven to be the
// layers of a mount: it opens these and no others.
type proven struct {
	mount string // for errors: the overlay
	dirs  map[string]known
}

// known is a directory that was found.
type known struct {
	way    way
	id     sys.Identity
	owners []witness.Owner // as stored there and as the mount shows them
	copied witness.Owner   // as of [witness.Layer]
}

// Open implements [diff.Opener].
func (p *proven) Open(path string) (*os.File, error) {
	dir, ok := p.dirs[path]
	if !ok {
		return nil, fmt.Errorf("open %s: it is no layer of %s", diff.QuotePath(path), p.mount)
	}
	o, err := dir.way.open()
	if err != nil {
		return nil, fmt.Errorf("%w; it was a layer of %s a moment ago: try again", err, p.mount)
	}
	f := os.NewFile(uintptr(o.fd), dir.way.name())
	return f, p.check(f, dir)
}

func (p *proven) check(f *os.File, dir known) error {
	var id sys.Identity
	err := sys.IdentityAt(int(f.Fd()), "", &id)
	if err == nil && !id.SameInode(&dir.id) {
		err = fmt.Errorf("open %s: another directory took the place of this layer of %s: try again", diff.QuotePath(f.Name()), p.mount)
	}
	if err != nil {
		f.Close()
	}
	return err
}

// detacher is an opener of which directories can be in another mount namespace. The kernel
// takes layers of the mounter's namespace alone, so detached returns such a directory as a
// detached mount. ok is false for all others, which Open opens.
type detacher interface {
	detached(path string) (f *os.File, ok bool, err error)
}

func (p *proven) detached(path string) (f *os.File, ok bool, err error) {
	dir, ok := p.dirs[path]
	if !ok || dir.way.pid == 0 && dir.way.uncover == 0 {
		return nil, false, nil
	}
	o, err := dir.way.detached()
	if err != nil {
		return nil, true, mounting.Error("copy the mount of the layer "+diff.QuotePath(path)+" of another mount namespace", err)
	}
	f = os.NewFile(uintptr(o.fd), path)
	return f, true, p.check(f, dir)
}

// Rename returns the stack of a mounted overlay with other names for its upper and lower
// directories, as many and in the same order: those that a runtime has for them. Directories
// are opened as before. The caller has made sure that each name is one of that directory.
func Rename(s diff.Stack, upper string, lower []string) diff.Stack {
	p, ok := s.Opener.(*proven)
	if !ok || len(lower) != len(s.Lower) {
		return s
	}
	renamed := &proven{mount: p.mount, dirs: maps.Clone(p.dirs)}
	names := map[string]string{s.Upper: upper}
	renamed.dirs[upper] = p.dirs[s.Upper]
	for i, name := range lower {
		names[s.Lower[i]] = name
		renamed.dirs[name] = p.dirs[s.Lower[i]]
	}
	s.Upper, s.Lower, s.Opener = upper, slices.Clone(lower), renamed
	s.Unproven = slices.Clone(s.Unproven)
	for i, name := range s.Unproven {
		if other, ok := names[name]; ok {
			s.Unproven[i] = other
		}
	}
	return s
}
