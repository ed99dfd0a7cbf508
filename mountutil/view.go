//go:build linux

package mountutil

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Side selects one of the two views of a stack. The zero value is invalid.
type Side uint8

// The two sides.
const (
	_   Side = iota
	Old      // the lower layers merged
	New      // the upper layer over the lower ones
)

// String returns "old" or "new".
func (s Side) String() string {
	switch s {
	case Old:
		return "old"
	case New:
		return "new"
	default:
		return "invalid"
	}
}

// OpenView mounts one side of a stack, read-only, with the features of
// s.Features, and opens its root. No path ever leads to the mount, and it ends
// with the last descriptor in it, however the process ends.
//
// The upper directory is mounted as one more lower layer, never for writing,
// so that it may belong to a live overlay. What is written there meanwhile can
// be seen or not, name by name. Inode numbers of directories mean nothing in a
// view, those of other entries only together with their device number.
//
// A layer directory that can't be opened is an error that names it. Errors
// match [diff.ErrUnsupported] where privileges or the kernel don't suffice, and
// where such a mount does not show what the overlay shows: the new side of a
// stack with the index feature and anything in its index.
func OpenView(ctx context.Context, s diff.Stack, which Side) (*Tree, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	op := "mount the " + which.String() + " view"
	lower := s.Lower
	switch {
	case which != Old && which != New:
		return nil, errors.New(op + ": ask for the old or the new side")
	case which == New && s.Upper != "":
		lower = append([]string{s.Upper}, lower...)
	}
	if len(lower) == 0 {
		return nil, errors.New(op + ": the stack has no lower layer: name one")
	}
	if err := checkTrusted(op, s.Features); err != nil {
		return nil, err
	}
	if which == New {
		if err := checkIndex(op, s); err != nil {
			return nil, err
		}
	}
	opts, err := viewOptions(op, s.Features, loadedDefaults())
	if err != nil {
		return nil, err
	}
	opts.Lower, opts.Data = lower, s.Data
	return openDetached(op+" of "+diff.QuotePath(lower[0]), s, opts)
}

// checkTrusted returns an error if a mount would not heed the marks of trusted.*.
func checkTrusted(op string, f diff.Features) error {
	if f.Fuse {
		return &diff.UnsupportedError{Op: op, Reason: "fuse-overlayfs marks deleted files, owners and modes in ways of its own, which the kernel does not know: compare natively"}
	}
	if f.UserXattr {
		return nil
	}
	switch err := sys.TryTrusted(); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: find out whether trusted.overlay.* marks can be read: %w", op, err)
	}
	return &diff.SettingError{Setting: diff.SettingUserXattr, Err: &diff.UnsupportedError{
		Op: op, Err: unix.EPERM,
		Reason: "a mount made without CAP_SYS_ADMIN in the initial user namespace heeds no trusted.overlay.* mark: run as root, or say so if the overlay is mounted with userxattr",
	}}
}

// OpenReplay mounts the old view of a stack with an upper directory of the caller's
// own, for writing: what is done there leaves the layers as they are. upper and work
// are empty directories on one file system, not on an overlay, that the caller
// removes afterwards. For the rest it is as [OpenView].
func OpenReplay(ctx context.Context, s diff.Stack, upper, work string) (*Tree, error) {
	const op = "mount a copy of the old view"
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(s.Lower) == 0 {
		return nil, errors.New(op + ": the stack has no lower layer: name one")
	}
	if err := checkTrusted(op, s.Features); err != nil {
		return nil, err
	}
	opts, err := viewOptions(op, s.Features, loadedDefaults())
	if err != nil {
		return nil, err
	}
	opts.Generic = []string{"nosuid", "nodev", "noexec"}
	opts.Fsync = "volatile" // nobody needs it after a crash
	opts.Lower, opts.Data, opts.Upper, opts.Work = s.Lower, s.Data, upper, work
	s.Opener = outside{s, []string{upper, work}}
	return openDetached(op, s, opts)
}

// outside is the opener of a stack and of directories that do not belong to it.
type outside struct {
	stack diff.Stack
	own   []string
}

// Open implements [diff.Opener].
func (o outside) Open(path string) (*os.File, error) {
	if slices.Contains(o.own, path) {
		return openIn(nil, path)
	}
	return Open(o.stack, path)
}

func (o outside) detached(path string) (f *os.File, ok bool, err error) {
	if d, is := o.stack.Opener.(detacher); is && !slices.Contains(o.own, path) {
		return d.detached(path)
	}
	return nil, false, nil
}

// openDetached mounts opts and opens the root of a copy of the mount that is in
// no namespace. It does so in a mount namespace that lives only for this: nobody
// else ever sees the mount, and a kill at any moment leaves neither a mount nor
// a temporary directory.
//
// The directories in opts are opened as s says, and show the owners that it says.
func openDetached(op string, s diff.Stack, opts Options) (t *Tree, err error) {
	err = mounting.InOwnNamespace(op, func() error {
		// Opened here, since a layer must be in the mounter's namespace.
		fds := layerFDs{opener: s.Opener, mapper: mapper{owners: s.Owners}}
		defer fds.close()
		for _, upper := range []bool{false, true} {
			if err := opts.byDescriptors(&fds, upper); err != nil {
				return err
			}
		}
		point := os.TempDir() // any directory: here it is covered for nobody
		if err := fds.attach(point); err != nil {
			return err
		}
		if len(opts.Lower) == 1 && len(opts.Data) == 0 && opts.Upper == "" {
			empty, err := mountEmpty(point, opts.Lower[0])
			if err != nil {
				return err
			}
			defer empty.Close()
			opts.Lower = []string{fdPath(int(empty.Fd())), opts.Lower[0]}
		}
		mount := opts.mount
		if !fitsPage(opts) {
			mount = opts.mountByParts
		}
		if err := mount(op, point); err != nil {
			return tooOld(op, opts, err)
		}
		var err error
		t, err = OpenTree(point)
		return err
	})
	return t, err
}

// tooOld says what a kernel may lack that refuses the options of a view: they are
// made for it, so nothing else is wrong with them.
func tooOld(op string, o Options, err error) error {
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	reason := "the kernel refuses such an overlay (invalid argument)"
	switch {
	case len(o.Data) > 0:
		reason += "; data-only layers came with Linux 6.5"
	case o.UserXattr:
		reason += "; userxattr came with Linux 5.11"
	}
	return &diff.UnsupportedError{Op: op, Reason: reason + "; overlaydiff probe says what this one can do"}
}

// loadedDefaults returns the parameters of the overlay module, loaded if need
// be: they tell which options it knows.
func loadedDefaults() Defaults {
	d := KernelDefaults()
	if d == (Defaults{}) {
		// No overlay is mounted without layers, but the attempt loads the module.
		_ = mounting.Mount("overlay", os.TempDir(), unix.MS_RDONLY, "")
		d = KernelDefaults()
	}
	return d
}

// viewOptions returns the options of a view without its layers. What a kernel
// has no parameter for, it would reject.
func viewOptions(op string, f diff.Features, d Defaults) (Options, error) {
	o := Options{Generic: []string{"ro", "nosuid", "nodev", "noexec"}, UserXattr: f.UserXattr}
	set := func(field *string, p Param, value string) {
		if p != Absent {
			*field = value
		}
	}
	if f.Verity != diff.VerityOff {
		o.Verity = f.Verity.String()
	}
	set(&o.XINO, d.XinoAuto, "off")
	set(&o.Index, d.Index, "off")
	set(&o.NFSExport, d.NFSExport, "off")
	if f.UserXattr { // which forces redirect_dir=nofollow and metacopy=off (Linux 5.11)
		return o, nil
	}
	if f.Metacopy && !f.RedirectFollow {
		return o, &diff.UnsupportedError{Op: op, Reason: "overlayfs resolves metacopy files only where it follows redirects: set both features or neither"}
	}
	set(&o.RedirectDir, d.RedirectDir, onOff(f.RedirectFollow))
	if !f.RedirectFollow && d.RedirectAlwaysFollow != Absent { // Linux 4.15; before, off followed as well
		o.RedirectDir = "nofollow"
	}
	set(&o.Metacopy, d.Metacopy, onOff(f.Metacopy))
	return o, nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// checkIndex returns an error if the index may hold files: a mount without the
// work directory does not show what they stand for.
func checkIndex(op string, s diff.Stack) error {
	if !s.Features.Index || s.Upper == "" {
		return nil
	}
	no := &diff.UnsupportedError{Op: op, Reason: "hard links of lower files are tied together by the index, which only a mount with the work directory shows: mount the overlay and name its mount point"}
	if s.Work == "" {
		return no
	}
	names, err := indexNames(s)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pathError("read the inode index", s.Work, err, "name the work directory of this overlay")
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "#") { // temporary files and the shared whiteout
			return no
		}
	}
	return nil
}

func indexNames(s diff.Stack) ([]string, error) {
	work, err := Open(s, s.Work)
	if err != nil {
		return nil, err
	}
	defer work.Close()
	fd, err := sys.Open(int(work.Fd()), "index", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	index := os.NewFile(uintptr(fd), "index")
	defer index.Close()
	return index.Readdirnames(-1)
}
