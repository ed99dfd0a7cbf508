package features

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// dirProbes are about the file system, as overlayfs and drivers need it.
var dirProbes = []probe{{
	name: "d_type", group: groupDir, depends: onDir,
	asks:    "listings tell the types of files (d_type)",
	how:     "lists a directory",
	follows: "overlayfs shows whiteouts as files; make xfs with ftype=1, ext4 with filetype",
	run:     probeDType,
}, {
	name: "trusted_xattrs", group: groupDir, depends: onDir,
	asks:    "trusted.* attributes can be set and read",
	how:     "sets and reads one on a file",
	follows: "overlays must be mounted with userxattr, and the marks of others can't be read",
	run:     probeXattr("trusted.overlaydiff"),
}, {
	name: "user_xattrs", group: groupDir, depends: onDir,
	asks:    "user.* attributes can be set and read",
	how:     "sets and reads one on a file",
	follows: "overlays mounted with userxattr work only in part here",
	source:  "on tmpfs since Linux 6.6",
	run:     probeXattr("user.overlaydiff"),
}, {
	name: "whiteout_device", group: groupDir, depends: onDir,
	asks:    "whiteouts can be made with mknod",
	how:     "makes a character device 0:0",
	follows: "whoever unpacks layers must mark deletions by attributes (xattr_whiteouts)",
	source:  "without privileges since Linux 5.8",
	run:     probeWhiteoutDevice,
}, {
	name: "whiteout_xattr", group: groupDir, depends: onDir,
	asks:    "whiteouts can be made with an attribute",
	how:     "sets overlayfs's whiteout attribute on an empty file",
	follows: "whoever unpacks layers must mark deletions by devices (whiteout_device)",
	run:     probeWhiteoutXattr,
}, {
	name: "rename_whiteout", group: groupDir, depends: onDir,
	asks:    "rename can leave a whiteout behind (RENAME_WHITEOUT)",
	how:     "renames a file with renameat2",
	follows: "overlayfs can't have its upper directory here",
	run:     probeRenameWhiteout,
}, {
	name: "rename_exchange", group: groupDir, depends: onDir,
	asks:    "two names can be exchanged (RENAME_EXCHANGE)",
	how:     "exchanges two files with renameat2",
	follows: "directories can't be replaced in one step",
	run:     probeRenameExchange,
}, {
	name: "o_tmpfile", group: groupDir, depends: onDir,
	asks:    "files can be made without a name (O_TMPFILE)",
	how:     "opens the directory with O_TMPFILE",
	follows: "copy-up goes by a named file in the work directory, which is slower",
	run:     probeTmpfile,
}, {
	name: "file_handles", group: groupDir, depends: onDir,
	asks:    "files have handles",
	how:     "asks for one with name_to_handle_at",
	follows: "index and nfs_export don't work with layers here",
	run:     probeHandle,
}}

func probeDType(_ context.Context, s *session) error {
	p, err := s.common()
	if err != nil {
		return err
	}
	if err := p.make("types/d/", "types/f"); err != nil {
		return err
	}
	dir, err := os.Open(p.in("types"))
	if err != nil {
		return err
	}
	defer dir.Close()
	types := map[string]uint8{}
	if err := sys.ReadDir(int(dir.Fd()), func(d sys.Dirent) bool { types[strings.Clone(d.Name)] = d.Type; return true }); err != nil {
		return err
	}
	if types["d"] != unix.DT_DIR || types["f"] != unix.DT_REG {
		return no("the types are not in the listing")
	}
	return nil
}

func probeXattr(name string) func(context.Context, *session) error {
	return func(_ context.Context, s *session) error {
		p, err := s.common()
		if err != nil {
			return err
		}
		if err := p.make("xattrs="); err != nil {
			return err
		}
		if err := set(p.in("xattrs"), name, "y"); err != nil {
			if errors.Is(err, unix.EPERM) && strings.HasPrefix(name, "trusted.") && !s.trusted {
				return unsure(fmt.Errorf("%w; it takes CAP_SYS_ADMIN in the initial user namespace", err))
			}
			return err
		}
		v, _, err := get(p.in("xattrs"), name)
		if err == nil && v != "y" {
			return no("what was set can't be read")
		}
		return err
	}
}

func probeWhiteoutXattr(ctx context.Context, s *session) error {
	return probeXattr(s.mark("whiteout"))(ctx, s)
}

func probeWhiteoutDevice(_ context.Context, s *session) error {
	p, err := s.common()
	if err != nil {
		return err
	}
	err = makeWhiteout(p.in("whiteout"))
	if errors.Is(err, unix.EPERM) && sys.IsOverlay(int(s.dir.Fd())) {
		return no("overlayfs refuses it to everybody: %v", bare(err))
	}
	return err
}

func makeWhiteout(path string) error {
	if err := unix.Mknod(path, unix.S_IFCHR, 0); err != nil {
		return &os.PathError{Op: "mknod", Path: path, Err: err}
	}
	return nil
}

func probeRenameWhiteout(_ context.Context, s *session) error {
	p, err := s.common()
	if err != nil {
		return err
	}
	if err := p.make("renamed="); err != nil {
		return err
	}
	if err := renameat2(p.in("renamed"), p.in("to"), unix.RENAME_WHITEOUT); err != nil {
		return err
	}
	st, err := inode(p.in("renamed"))
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0) {
		return no("what is left is no whiteout")
	}
	return err
}

func probeRenameExchange(_ context.Context, s *session) error {
	p, err := s.common()
	if err != nil {
		return err
	}
	if err := p.make("one=", "two/"); err != nil {
		return err
	}
	return renameat2(p.in("one"), p.in("two"), unix.RENAME_EXCHANGE)
}

func renameat2(from, to string, flags uint) error {
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags); err != nil {
		return &os.PathError{Op: "renameat2", Path: from, Err: err}
	}
	return nil
}

func probeTmpfile(_ context.Context, s *session) error {
	p, err := s.common()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(string(p), unix.O_TMPFILE|os.O_RDWR, 0o600)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOENT) { // before 3.11
		return no("%v", bare(err))
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func probeHandle(_ context.Context, s *session) error {
	p, err := s.common()
	if err != nil {
		return err
	}
	dir, err := os.Open(string(p))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := p.make("handle="); err != nil {
		return err
	}
	_, err = sys.HandleAt(int(dir.Fd()), "handle")
	return err
}
