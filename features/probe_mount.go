package features

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

var aMount = []string{"mount"}

// mountProbes are about mounting at all.
var mountProbes = []probe{{
	name: "mount", group: groupOverlay, depends: onDir,
	asks:    "an overlay can have its upper directory here",
	how:     "mounts an overlay with upper and work directory here, with userxattr if trusted.* can't be read, and creates a file in it",
	follows: "graph drivers can't use overlayfs on this directory: take another file system (ext4, xfs, btrfs, tmpfs), or fuse-overlayfs",
	run:     probeMount,
}, {
	name: "mount_api", group: groupOverlay, depends: onProcess, since: "6.5",
	asks:    "overlayfs checks each parameter of the new mount API",
	how:     "sets a parameter that does not exist with fsconfig: an older kernel takes it and fails later",
	follows: "option strings are limited to one page, and errors do not name the option",
	run:     probeMountAPI,
}, {
	name: "lowerdir_append", group: groupOverlay, depends: onProcess, since: "6.7",
	asks:    "layers can be added one by one (lowerdir+, datadir+)",
	how:     "sets both parameters with fsconfig",
	follows: "all lower layers must fit in one option of one page; with many layers use short or relative paths",
	run: func(_ context.Context, s *session) error {
		return parameters(option{"lowerdir+", "/"}, option{"datadir+", "/"})
	},
}, {
	name: "layer_fds", group: groupOverlay, depends: onProcess, since: "6.13",
	asks:    "layers can be given as descriptors",
	how:     "sets lowerdir+ to an O_PATH descriptor with fsconfig",
	follows: "layers must have a path in the mounter's namespace; /proc/self/fd/N is one",
	run:     probeLayerFDs,
}, {
	name: "lower_layers", group: groupOverlay, depends: onDir, needs: aMount,
	asks:    "500 lower layers are accepted",
	how:     "mounts with the same layer many times, which fails in another way if the number is right",
	follows: "images with more layers can't be mounted: squash them",
	source:  "OVL_MAX_STACK in fs/overlayfs/super.c",
	run:     probeLayers,
}}

func probeMount(_ context.Context, s *session) error {
	o, err := s.prepared()
	if err != nil {
		return s.whyNoMount(err)
	}
	return os.WriteFile(o.mounted.in("new"), nil, 0o600)
}

// whyNoMount adds what is likely to be the cause of an error, if that came from
// mounting an overlay with its upper directory here.
func (s *session) whyNoMount(err error) error {
	if failed := (mountError{}); !errors.As(err, &failed) {
		return err
	}
	dir := s.dir
	if dir == nil { // in the process in a new user namespace
		dir = s.scratch.File
	}
	switch {
	case errors.Is(err, unix.EINVAL) && sys.IsOverlay(int(dir.Fd())):
		return no("the directory is on an overlay, which can't be the upper layer of another; use a volume or a tmpfs")
	case errors.Is(err, unix.EINVAL):
		return no("the kernel refuses %s as file system of an upper layer: %v", fsName(dir), err)
	case errors.Is(err, unix.EPERM) && !initialUserns():
		// User namespaces may mount overlays since 5.11, a tmpfs long before that.
		if tmpfs, tmpErr := mountDetached("tmpfs", nil); tmpErr == nil {
			tmpfs.close()
			return no("in a user namespace a tmpfs can be mounted, an overlay can't: %v", err)
		}
	}
	return err
}

// parameters sets parameters of an overlay that is never mounted.
func parameters(opts ...option) error {
	ctx, err := fsopen("overlay")
	if err != nil {
		return err
	}
	defer ctx.Close()
	if err := checked(ctx); err != nil {
		return err
	}
	for _, o := range opts {
		if err := configure(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// checked returns an error if the kernel takes any parameter, to look at it
// only when it mounts.
func checked(ctx mounting.Config) error {
	err := ctx.Set("overlaydiff_no_such_option", "1")
	switch {
	case err == nil:
		return no("fsconfig takes a parameter that does not exist, so it knows only the options of mount(2)")
	case !errors.Is(err, unix.EINVAL):
		return mountFailed("fsconfig", err)
	}
	_ = ctx.Message() // about that
	return nil
}

func probeMountAPI(context.Context, *session) error { return parameters() }

func probeLayerFDs(_ context.Context, s *session) error {
	ctx, err := fsopen("overlay")
	if err != nil {
		return err
	}
	defer ctx.Close()
	if err := checked(ctx); err != nil {
		return err
	}
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = ctx.SetFD("lowerdir+", fd)
	if errors.Is(err, unix.EBADF) { // 6.12 looks for a descriptor that was opened for reading
		return no("fsconfig refuses an O_PATH descriptor: %v", err)
	}
	if err != nil {
		return explain(ctx, "mount option lowerdir+", err)
	}
	return nil
}

// probeLayers mounts a directory many times over itself, one with a name so
// short that 500 fit in a page. Too many layers are EINVAL; else one that comes
// twice is ELOOP, so nothing is ever mounted.
func probeLayers(_ context.Context, s *session) error {
	p, err := s.common()
	if err != nil {
		return err
	}
	accepts := func(dir string, n int) (bool, error) {
		err := mounting.Mount("overlay", string(p), unix.MS_RDONLY, "lowerdir="+dir+strings.Repeat(":"+dir, n-1))
		switch {
		case err == nil:
			return true, mounting.Detach(string(p))
		case errors.Is(err, unix.ELOOP):
			return true, nil
		case errors.Is(err, unix.EINVAL):
			return false, nil
		}
		return false, fmt.Errorf("mount %d lower layers: %w", n, err)
	}
	// In a user namespace / can't be a layer: what is mounted below it is locked.
	for _, dir := range []string{"/", "/usr", "/etc", "/var", "/tmp", "/run", "/srv"} {
		if two, err := accepts(dir, 2); err != nil || !two {
			continue
		}
		enough, err := accepts(dir, 500)
		if err != nil || !enough {
			return orNo(err, "500 are refused")
		}
		if more, err := accepts(dir, 501); err == nil && more { // 5.10 says ENOMEM
			s.detail = "501, too"
		}
		return nil
	}
	return errors.New("no directory with a short name can be a lower layer, with which this is tried")
}
