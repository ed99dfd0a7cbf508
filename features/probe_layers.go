package features

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/mounting"
)

// layerProbes are about what lower layers may be and say.
var layerProbes = []probe{{
	name: "userxattr", group: groupOverlay, depends: onDir, since: "5.11", needs: aMount,
	asks:    "marks can be in user.overlay.* (userxattr), as user namespaces need it",
	how:     "replaces a lower directory in an overlay mounted with userxattr and looks for the mark",
	follows: "without privileges overlays work only in part: removed directories can't be made anew; use fuse-overlayfs",
	run:     on([]string{"userxattr"}, []string{"l1/d/f"}, tryReplace),
}, {
	name: "userxattr_redirect", group: groupOverlay, depends: onDir, needs: aMount,
	asks:    "userxattr goes together with redirect_dir=on",
	how:     "mounts with both",
	follows: "in user namespaces renaming a lower directory gives EXDEV, and programs copy it",
	source:  "Documentation/filesystems/overlayfs.rst, \"User xattr\"",
	run:     probeOption("userxattr", "redirect_dir=on"),
}, {
	name: "userxattr_metacopy", group: groupOverlay, depends: onDir, needs: aMount,
	asks:    "userxattr goes together with metacopy=on",
	how:     "mounts with both",
	follows: "in user namespaces chmod and chown copy the whole file to the upper layer",
	source:  "Documentation/filesystems/overlayfs.rst, \"User xattr\"",
	run:     probeOption("userxattr", "metacopy=on"),
}, {
	name: "xattr_whiteouts", group: groupOverlay, depends: onDir, since: "6.7", needs: aMount,
	asks:    "an empty file with the whiteout attribute deletes",
	how:     "looks up and lists a file that a layer above deletes in this way (opaque=x)",
	follows: "layers with such files, as nested containers and composefs make them, show deleted names",
	run:     probeXattrWhiteouts,
}, {
	name: "nested_xattrs", group: groupOverlay, depends: onDir, since: "6.7", needs: aMount,
	asks:    "a mounted overlay can hold overlayfs's own attributes, escaped",
	how:     "sets an attribute of overlayfs's own through a mount",
	follows: "inside a container no layers with marks can be made on its root; use a volume",
	run:     probeNestedXattrs,
}, {
	name: "overlay_lower", group: groupOverlay, depends: onDir, needs: aMount,
	asks:    "an overlay can be the lower layer of another",
	how:     "mounts one over another",
	follows: "a container's root can't be a layer of containers inside it",
	run:     probeNested,
}, {
	name: "data_only", group: groupOverlay, depends: onDir, since: "6.5", needs: []string{"mount", "metacopy"},
	asks:    "data-only layers (lowerdir=a::b), with metacopy=on",
	how:     "reads a file whose metadata is in one layer and whose data is in a data-only one",
	follows: "composefs and other stores that keep contents by digest can't be mounted",
	run:     probeDataOnly("metacopy=on"),
}, {
	name: "data_only_plain", group: groupOverlay, depends: onDir, since: "6.16", needs: aMount,
	asks:    "data-only layers without metacopy=on",
	how:     "reads a file whose metadata is in the lowest layer and whose data is in a data-only one, metacopy=off",
	follows: "stores with data-only layers need metacopy=on, so they need privileges",
	run:     probeDataOnly("metacopy=off"),
}, {
	name: "idmapped_lower", group: groupOverlay, depends: onDir, since: "5.19", needs: []string{"mount", "userns_create"},
	asks:    "a lower layer can have its own id mapping",
	how:     "mounts an overlay over an idmapped copy of a directory here",
	follows: "for another id mapping all files of the image must be copied and given to new owners",
	run:     probeIdmapped,
}, {
	name: "casefold", group: groupOverlay, depends: onProcess, since: "6.18",
	asks:    "directories that ignore case can be layers",
	how:     "mounts an overlay over two such directories on a tmpfs",
	follows: "layers on file systems that fold case, as some desktops and game stores have them, can't be mounted",
	run:     probeCasefold,
}}

// tryReplace removes a lower directory and makes it anew: what takes an opaque
// mark, in whatever namespace.
func tryReplace(_ *session, o *prepared) error {
	m := o.mounted
	if err := os.RemoveAll(m.in("d")); err != nil {
		return unusable(err)
	}
	if err := os.Mkdir(m.in("d"), 0o755); err != nil {
		return unusable(err)
	}
	if _, err := os.Lstat(m.in("d/f")); !errors.Is(err, fs.ErrNotExist) {
		return orNo(err, "a directory that was removed and made anew shows its old content")
	}
	return nil
}

// unusable is what happens where the marks can't be written: what would write one fails
// with EIO. Of a call that only reads, that is a bad disk.
func unusable(err error) error {
	at, ok := errors.AsType[*fs.PathError](err)
	if ok && (at.Op == "mkdir" || at.Op == "unlinkat") && errors.Is(err, unix.EIO) {
		return no("it mounts, but a lower directory can't be removed and made anew (%v): the opaque mark can't be written", bare(err))
	}
	return err
}

// probeOption mounts with options, and nothing more.
func probeOption(options ...string) func(context.Context, *session) error {
	return func(_ context.Context, s *session) error {
		p, err := s.common()
		if err != nil {
			return err
		}
		m, err := s.lowers(p, "l1:l2", options...)
		if err != nil {
			return err
		}
		m.close()
		return nil
	}
}

func probeXattrWhiteouts(_ context.Context, s *session) error {
	p, err := s.place()
	if err != nil {
		return err
	}
	if err := p.make("l1/d/f=", "l2/d/f"); err != nil {
		return err
	}
	if err := errors.Join(set(p.in("l1/d"), s.mark("opaque"), "x"), set(p.in("l1/d/f"), s.mark("whiteout"), "y")); err != nil {
		return unsure(err)
	}
	m, err := s.lowers(p, "l1:l2")
	if err != nil {
		return err
	}
	defer m.close()
	if _, err := os.Lstat(m.in("d/f")); !errors.Is(err, fs.ErrNotExist) {
		return orNo(err, "the name is there, as an empty file")
	}
	names, err := os.ReadDir(m.in("d"))
	if err == nil && len(names) > 0 {
		return no("the name is listed, though it can't be looked up")
	}
	return err
}

func probeNestedXattrs(_ context.Context, s *session) error {
	o, err := s.prepared()
	if err != nil {
		return err
	}
	return set(o.mounted.in("x"), s.mark("probe"), "y")
}

func probeNested(_ context.Context, s *session) error {
	o, err := s.prepared()
	if err != nil {
		return err
	}
	p, err := s.place()
	if err != nil {
		return err
	}
	lower, err := s.attach(p, o.mounted)
	if err != nil {
		return err
	}
	m, err := s.lowers(p, lower+":l1")
	if err != nil {
		return err
	}
	defer m.close()
	_, err = os.Lstat(m.in("f"))
	return err
}

func probeDataOnly(options ...string) func(context.Context, *session) error {
	return func(_ context.Context, s *session) error {
		p, err := s.place()
		if err != nil {
			return err
		}
		if err := p.make("l1/f=", "data/blob"); err != nil {
			return err
		}
		if err := errors.Join(set(p.in("l1/f"), s.mark("metacopy"), ""), set(p.in("l1/f"), s.mark("redirect"), "/blob"), os.Truncate(p.in("l1/f"), 5)); err != nil {
			return unsure(err)
		}
		m, err := s.lowers(p, "l1::data", options...)
		if err != nil {
			return err
		}
		defer m.close()
		b, err := os.ReadFile(m.in("f"))
		if errors.Is(err, unix.EPERM) {
			return no("reading the file gives EPERM")
		}
		if err == nil && string(b) != "data\n" {
			return no("the file does not have the data")
		}
		return err
	}
}

func probeIdmapped(_ context.Context, s *session) error {
	p, err := s.place()
	if err != nil {
		return err
	}
	if err := p.make("l1/f"); err != nil {
		return err
	}
	ns, err := s.userns.namespace()
	if err != nil {
		return err
	}
	defer ns.Close()
	fd, err := copyMount(p.in("l1"))
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	layer := mounted{fd}
	defer layer.close()
	if err := mounting.MapIDs(fd, int(ns.Fd())); err != nil {
		return fmt.Errorf("give a mount of this file system an id mapping: mount_setattr: %w", err)
	}
	lower, err := s.attach(p, layer)
	if err != nil {
		return err
	}
	m, err := s.lowers(p, lower+":l2")
	if err != nil {
		return err
	}
	defer m.close()
	_, err = os.Lstat(m.in("f"))
	return err
}

// probeCasefold uses a tmpfs of its own: on other file systems the feature is
// chosen when they are made.
func probeCasefold(_ context.Context, s *session) error {
	tmpfs, err := mountDetached("tmpfs", []option{{key: "casefold"}})
	if errors.Is(err, unix.EINVAL) {
		return no("no tmpfs that folds case can be mounted, so the kernel can't (CONFIG_UNICODE) or is too old: %v", err)
	}
	if err != nil {
		return err
	}
	defer tmpfs.close()
	at, err := s.place()
	if err != nil {
		return err
	}
	root, err := s.attach(at, tmpfs)
	if err != nil {
		return err
	}
	p := place(root)
	lower, err := p.layers("l1:l2", ":")
	if err != nil {
		return err
	}
	for _, layer := range []string{"l1", "l2"} {
		if err := foldCase(p.in(layer)); err != nil {
			return fmt.Errorf("make a directory fold case: %w", err)
		}
	}
	if err := p.make("l2/Readme"); err != nil {
		return err
	}
	m, err := mountDetached("overlay", []option{{"lowerdir", lower}})
	if err != nil {
		return err
	}
	defer m.close()
	_, err = os.Lstat(m.in("README"))
	if errors.Is(err, fs.ErrNotExist) {
		return no("it mounts, but case counts")
	}
	return err
}

func foldCase(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	const casefold = 0x40000000 // FS_CASEFOLD_FL
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, casefold)
}

// copyMount returns a detached copy of the mount that a directory is on.
func copyMount(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	return mounting.Copy(fd)
}
