package features

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/mounting"
)

// mounted is a detached mount: only its descriptor leads to it, and it ends
// with that.
type mounted struct{ fd int }

func (m mounted) path() string          { return fdPath(m.fd) }
func (m mounted) in(name string) string { return m.path() + "/" + name }
func (m mounted) close()                { unix.Close(m.fd) }

// attach gives a detached mount a path below p: before 6.15 or so a layer must be
// in the mounter's namespace.
func (s *session) attach(p place, m mounted) (path string, err error) {
	if !s.private {
		return m.path(), nil
	}
	if err := p.make("at/"); err != nil {
		return "", err
	}
	path = p.in("at")
	if err := mounting.Attach(m.fd, path); err != nil {
		return "", mountFailed("move_mount", err)
	}
	return path, nil
}

// option is a parameter of a file system: a flag if it has no value.
type option struct{ key, value string }

// options parses key=value; what comes twice is taken once.
func options(words ...[]string) []option {
	var opts []option
	for _, w := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(words...)))) {
		key, value, _ := strings.Cut(w, "=")
		opts = append(opts, option{key, value})
	}
	return opts
}

// mountError is what mounting gave.
type mountError struct{ error }

func (e mountError) Unwrap() error { return e.error }

// mountFailed is a failure of one of the calls of the new mount API. Where they
// are missing, or filtered, mount(2) might have done it.
func mountFailed(op string, err error) error {
	if errors.Is(err, unix.ENOSYS) {
		return unsure(fmt.Errorf("%s: %w; the kernel does not know the call, or a security filter hides it", op, err))
	}
	return mountError{fmt.Errorf("%s: %w", op, err)}
}

// fsopen begins to configure a mount.
func fsopen(fsType string) (mounting.Config, error) {
	ctx, err := mounting.Begin(fsType)
	if err != nil {
		return ctx, mountFailed("fsopen "+fsType, err)
	}
	return ctx, nil
}

// mountDetached mounts a file system in no namespace (Linux 5.2).
func mountDetached(fsType string, opts []option) (mounted, error) {
	ctx, err := fsopen(fsType)
	if err != nil {
		return mounted{}, err
	}
	defer ctx.Close()
	for _, o := range opts {
		if err := configure(ctx, o); err != nil {
			return mounted{}, err
		}
	}
	if err := ctx.Create(); err != nil {
		return mounted{}, explain(ctx, "mount "+fsType+describe(opts), err)
	}
	tree, err := ctx.Tree(0)
	if err != nil {
		return mounted{}, mountFailed("fsmount", err)
	}
	return mounted{tree}, nil
}

// configure sets one parameter.
func configure(ctx mounting.Config, o option) error {
	if err := ctx.Set(o.key, o.value); err != nil {
		return explain(ctx, "mount option"+describe([]option{o}), err)
	}
	return nil
}

// describe lists the options that say more than where the layers are.
func describe(opts []option) string {
	var b strings.Builder
	for _, o := range opts {
		switch {
		case o.key == "lowerdir" || o.key == "upperdir" || o.key == "workdir" || o.key == "volatile":
		case o.value == "":
			b.WriteString(" " + o.key)
		default:
			b.WriteString(" " + o.key + "=" + o.value)
		}
	}
	return b.String()
}

// explain adds what the kernel says of a failure.
func explain(ctx mounting.Config, op string, err error) error {
	says := ctx.Message()
	if says == "" || strings.Contains(says, "/proc/self/fd/") { // which tells nobody anything
		return mountFailed(op, err)
	}
	return mountFailed(op, fmt.Errorf("%w (%s)", err, strings.TrimPrefix(says, "overlay: ")))
}

// upper mounts an overlay with the options that this process needs, and the
// given ones, over the layer l1 in p. Upper and work directory are u and w.
func (s *session) upper(p place, extra ...string) (mounted, error) {
	dirs, err := p.dirs("l1")
	if err != nil {
		return mounted{}, err
	}
	return mountVolatile(append(dirs, options(s.base(), extra)...))
}

// dirs makes the directories of an overlay and returns the options for them.
func (p place) dirs(lower string) ([]option, error) {
	lowerdir, err := p.layers(lower, ":")
	if err != nil {
		return nil, err
	}
	return []option{{"lowerdir", lowerdir}, {"upperdir", p.in("u")}, {"workdir", p.in("w")}}, p.make("u/", "w/")
}

// mountVolatile mounts an overlay such that no copy-up and no unmount waits for
// the disk (5.10), which changes nothing else.
func mountVolatile(opts []option) (mounted, error) {
	m, err := mountDetached("overlay", append(opts, option{key: "volatile"}))
	if errors.Is(err, unix.EINVAL) {
		return mountDetached("overlay", opts)
	}
	return m, err
}

// lowers mounts an overlay that has no upper directory, which is quicker, over
// layers in p: a:b::data, or absolute paths.
func (s *session) lowers(p place, lower string, extra ...string) (mounted, error) {
	names, data, _ := strings.Cut(lower, "::")
	dirs, err := p.layers(names, ":")
	if err != nil {
		return mounted{}, err
	}
	if data != "" {
		more, err := p.layers(data, "::")
		if err != nil {
			return mounted{}, err
		}
		dirs += "::" + more
	}
	return mountDetached("overlay", append([]option{{"lowerdir", dirs}}, options(s.base(), extra)...))
}

// layers makes those of the layers that are in p, and returns the paths of all.
func (p place) layers(names, sep string) (string, error) {
	dirs := strings.Split(names, sep)
	for i, d := range dirs {
		if strings.HasPrefix(d, "/") {
			continue
		}
		if err := p.make(d + "/"); err != nil {
			return "", err
		}
		dirs[i] = p.in(d)
	}
	return strings.Join(dirs, sep), nil
}

// prepared is an overlay that several probes share: to mount one takes longer
// than all that they do.
type prepared struct {
	place
	mounted
	prefix string // of the marks
	err    error
	opaque error // why the directory o of the middle layer could not be made opaque
}

// prepared mounts it at the first call with these options. Its lower layers hold
// something for each of those who use it.
func (s *session) prepared(extra ...string) (*prepared, error) {
	key := strings.Join(extra, ",")
	o := s.shared.overlays[key]
	if o == nil {
		o = &prepared{}
		o.err = o.mount(s, extra)
		if s.shared.overlays == nil {
			s.shared.overlays = map[string]*prepared{}
		}
		s.shared.overlays[key] = o
	}
	return o, o.err
}

func (o *prepared) mount(s *session, extra []string) (err error) {
	if o.place, err = s.place(); err != nil {
		return err
	}
	p := o.place
	if err := p.make("l1/o/", "l1/d/", "l1/f", "l1/x", "l1/a", "l1/b<l1/a", "l2/o/"); err != nil {
		return err
	}
	o.prefix = s.mark("")
	if slices.Contains(extra, "userxattr") {
		o.prefix = "user.overlay."
	}
	o.opaque = set(p.in("l1/o"), o.prefix+"opaque", "y")
	dirs, err := p.dirs("l1:l2")
	if err != nil {
		return err
	}
	m, err := mountVolatile(append(dirs, options(s.base(), extra)...))
	if errors.Is(err, unix.EINVAL) && len(extra) == 0 && !s.trusted {
		m, err = mountVolatile(dirs) // no userxattr before 5.11
	}
	if err == nil {
		o.mounted = m
	}
	return err
}
