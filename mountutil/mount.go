//go:build linux

package mountutil

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/internal/scratch"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Mounted is an overlay that [Mount] mounted.
type Mounted struct {
	point *scratch.Point
	once  sync.Once
	err   error
}

// Mount mounts an overlay in a private temporary directory, below
// [os.TempDir], that only the caller's user can enter. The mount is in the
// caller's mount namespace until Close; cancelling ctx afterwards does not end
// it. On an error nothing is left.
//
// Options too long for mount(2), which takes one page, are passed by
// descriptors; mount tables then show /proc/self/fd/N for the layers. That is
// good for some 220 layers, and for all 500 that overlayfs takes since 6.7.
//
// Errors match [diff.ErrUnsupported] where privileges or the kernel don't
// suffice, and are an [*OptionError] where the options make no overlay.
func Mount(ctx context.Context, o Options) (*Mounted, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := o.check(KernelDefaults()); err != nil {
		return nil, err
	}
	if o.Upper == "" && len(o.Lower)+len(o.Data) < 2 {
		return nil, &OptionError{"lowerdir", "without upperdir it needs two layers: add an empty directory"}
	}
	point, err := scratch.NewPoint()
	if err != nil {
		return nil, err
	}
	if err := o.mountAt(point.Path); err != nil {
		return nil, and(o.blame(err), point.Remove())
	}
	// What the user mounts inside shall not spread to other namespaces. The
	// mount itself does if the parent is shared (systemd shares /), and so does
	// its removal: unmounting takes the copies along.
	m := &Mounted{point: point}
	if err := mounting.MakePrivate(point.Path); err != nil {
		return nil, and(mounting.Error("make the mount private", err), m.Close())
	}
	return m, nil
}

// Path returns where the overlay is mounted.
func (m *Mounted) Path() string { return m.point.Path }

// Close unmounts the overlay and removes the temporary directory. If files are
// still open there it waits a moment, then detaches the mount, which ends when
// they are closed. Only the first call does something; all return its error.
func (m *Mounted) Close() error {
	m.once.Do(func() {
		if err := mounting.Unmount(m.point.Path); err != nil {
			m.err = pathError("unmount", m.point.Path, err, "unmount it with umount -l")
			return
		}
		m.err = m.point.Remove()
	})
	return m.err
}

// mountAt mounts an overlay at point: with mount(2), whose options all kernels
// understand, unless they are too many.
func (o Options) mountAt(point string) error {
	op := "mount an overlay of " + diff.QuotePath(cmp.Or(o.Upper, o.Lower[0]))
	if fitsPage(o) {
		return o.mount(op, point)
	}
	var fds layerFDs
	defer fds.close()
	// The upper and work directory keep their names, which mount tables show,
	// as long as they can.
	for _, all := range []bool{false, true} {
		if err := o.byDescriptors(&fds, all); err != nil {
			return err
		}
		if fitsPage(o) {
			return o.mount(op, point)
		}
	}
	return o.mountByParts(op, point)
}

// mount calls mount(2). It copies one page of options and cuts off the rest.
func (o Options) mount(op, point string) error {
	if err := mounting.Mount("overlay", point, o.flags(), o.data()); err != nil {
		return mounting.Error(op, err)
	}
	return nil
}

// blame finds which directory the kernel missed: it does not say.
func (o Options) blame(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) || errno != unix.ENOENT && errno != unix.ENOTDIR {
		return err
	}
	for _, path := range slices.Concat(o.Lower, o.Data, []string{o.Upper, o.Work}) {
		if st, e := statPath(path); path != "" && (e != nil || !st.isDir()) {
			return pathError("mount the layer", path, errno, "name a directory that exists")
		}
	}
	return err
}

func fitsPage(o Options) bool { return len(o.data()) < min(4096, os.Getpagesize()) }

// mountFlags are the generic options that are flags of mount(2).
var mountFlags = map[string]struct{ set, clear uintptr }{
	"ro": {set: unix.MS_RDONLY}, "rw": {clear: unix.MS_RDONLY},
	"nosuid": {set: unix.MS_NOSUID}, "suid": {clear: unix.MS_NOSUID},
	"nodev": {set: unix.MS_NODEV}, "dev": {clear: unix.MS_NODEV},
	"noexec": {set: unix.MS_NOEXEC}, "exec": {clear: unix.MS_NOEXEC},
	"sync": {set: unix.MS_SYNCHRONOUS}, "async": {clear: unix.MS_SYNCHRONOUS},
	"dirsync":  {set: unix.MS_DIRSYNC},
	"lazytime": {set: unix.MS_LAZYTIME}, "nolazytime": {clear: unix.MS_LAZYTIME},
	"noatime": {set: unix.MS_NOATIME}, "atime": {clear: unix.MS_NOATIME},
	"nodiratime": {set: unix.MS_NODIRATIME}, "diratime": {clear: unix.MS_NODIRATIME},
	"relatime": {set: unix.MS_RELATIME}, "norelatime": {clear: unix.MS_RELATIME},
	"strictatime": {set: unix.MS_STRICTATIME}, "nostrictatime": {clear: unix.MS_STRICTATIME},
	"nosymfollow": {set: unix.MS_NOSYMFOLLOW}, "symfollow": {clear: unix.MS_NOSYMFOLLOW},
	"silent": {set: unix.MS_SILENT}, "loud": {clear: unix.MS_SILENT},
}

func (o Options) flags() uintptr {
	var flags uintptr
	for _, name := range o.Generic {
		f := mountFlags[name]
		flags = flags&^f.clear | f.set
	}
	return flags
}

// data returns the options without those that are flags of mount(2) or
// comments: of the generic ones, only the labels.
func (o Options) data() string {
	labels := Options{}
	for _, opt := range o.Generic {
		if name, _, _ := strings.Cut(opt, "="); isContext(name) {
			labels.Generic = append(labels.Generic, opt)
		}
	}
	o.Generic = labels.Generic
	return o.String()
}

// layerFDs are descriptors that hold layer directories. The kernel takes the
// directory itself, whatever happens to its path, and the names
// /proc/self/fd/N need no escapes.
type layerFDs struct {
	opener diff.Opener // opens the directories; nil: their paths are followed
	mapper mapper
	files  []*os.File
	// detached are those files that have to be mounted before they can be a layer.
	detached []*os.File
}

// open returns the name under which the kernel finds the directory path.
func (l *layerFDs) open(path string) (string, error) {
	f, detached, err := l.openFile(path)
	if errno := unix.Errno(0); errors.As(err, &errno) {
		remedy := "name a directory that exists"
		if errno == unix.EMFILE {
			remedy = "raise the limit of open files, ulimit -n"
		}
		return "", pathError("open the layer", path, errno, remedy)
	}
	if err == nil && l.mapper.maps(path) {
		f, err = l.mapped(f, path, detached)
		detached = true
	}
	if err != nil {
		return "", err
	}
	l.files = append(l.files, f)
	if detached {
		l.detached = append(l.detached, f)
	}
	return fdPath(int(f.Fd())), nil
}

func (l *layerFDs) openFile(path string) (f *os.File, detached bool, err error) {
	if p, ok := l.opener.(detacher); ok {
		if f, ok, err := p.detached(path); ok {
			return f, true, err
		}
	}
	f, err = openIn(l.opener, path)
	return f, false, err
}

// mapped returns a detached mount that shows the owners of a layer as the stack says, and
// closes f unless it is that mount.
func (l *layerFDs) mapped(f *os.File, path string, detached bool) (*os.File, error) {
	if !detached {
		tree, err := mounting.Copy(int(f.Fd()))
		f.Close()
		if err != nil {
			return nil, cannotMap(path, err)
		}
		f = os.NewFile(uintptr(tree), path)
	}
	if err := l.mapper.set(f, path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// attach mounts what is in no namespace in the calling thread's, at point: overlayfs takes
// no other layers. It is called when all is open: from then on point is covered.
func (l *layerFDs) attach(point string) error {
	for _, f := range l.detached {
		if err := mounting.Attach(int(f.Fd()), point); err != nil {
			return mounting.Error("mount the layer "+diff.QuotePath(f.Name()), err)
		}
	}
	return nil
}

func (l *layerFDs) openAll(paths []string) ([]string, error) {
	var names []string
	for _, path := range paths {
		name, err := l.open(path)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

func (l *layerFDs) close() {
	for _, f := range l.files {
		f.Close()
	}
	l.files = nil
	l.mapper.close()
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// byDescriptors opens the lower layers, or else the upper and work directory,
// and replaces their names in o.
func (o *Options) byDescriptors(fds *layerFDs, upper bool) (err error) {
	if !upper {
		if o.Lower, err = fds.openAll(o.Lower); err == nil {
			o.Data, err = fds.openAll(o.Data)
		}
		return err
	}
	for _, path := range []*string{&o.Upper, &o.Work} {
		if *path != "" && err == nil {
			*path, err = fds.open(*path)
		}
	}
	return err
}

// maxLayers is OVL_MAX_STACK.
const maxLayers = 500

// mountByParts mounts with one call an option, for which the new mount API
// (overlayfs: Linux 6.5, lowerdir+: 6.7) has no limit in total.
func (o Options) mountByParts(op, point string) error {
	n := len(o.Lower) + len(o.Data)
	if n > maxLayers {
		return &diff.UnsupportedError{Op: op, Reason: fmt.Sprintf("overlayfs takes %d lower layers at most, these are %d: merge some", maxLayers, n)}
	}
	old := &diff.UnsupportedError{Op: op, Reason: fmt.Sprintf("before Linux 6.7 the names of all layers must fit in one page, those of %d layers don't: merge some, or use a newer kernel", n)}
	fs, err := mounting.Begin("overlay")
	if err != nil {
		return old // ENOSYS before 5.2, EPERM in a sandbox that doesn't know it
	}
	defer fs.Close()
	for _, layers := range []struct {
		key   string
		paths []string
	}{{"lowerdir+", o.Lower}, {"datadir+", o.Data}} {
		for _, path := range layers.paths {
			if fs.Set(layers.key, path) != nil {
				return old
			}
		}
	}
	o.Lower, o.Data = nil, nil
	if err := o.configure(fs); err != nil {
		return mounting.Error(op, err)
	}
	tree, err := fs.Tree(o.flags())
	if err != nil {
		return mounting.Error(op, err)
	}
	defer sys.Close(tree)
	if err := mounting.Attach(tree, point); err != nil {
		return mounting.Error(op, err)
	}
	return nil
}

// configure sets all options but the layers and makes the super block.
func (o Options) configure(fs mounting.Config) error {
	list := append(o.overlay(), "source=overlaydiff")
	for _, opt := range o.Generic {
		if name, _, ok := strings.Cut(opt, "="); ok && isContext(name) || opt == "ro" && o.flags()&unix.MS_RDONLY != 0 {
			list = append(list, opt)
		}
	}
	for _, opt := range list {
		name, value, _ := strings.Cut(opt, "=")
		if err := fs.Set(name, value); err != nil {
			return fmt.Errorf("option %s: %w", diff.QuotePath(opt), err)
		}
	}
	return fs.Create()
}
