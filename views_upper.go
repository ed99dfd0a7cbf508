package overlaydiff

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/kernel"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// showsUpper returns an error that matches [diff.ErrUnsupported] if the upper directory,
// mounted as one more lower layer, may show something else than as the upper one. It
// reads the marks of the upper directory alone. Where overlayfs makes a difference
// (ovl_lookup, Linux 6.18):
//
//   - A metacopy file with its data in a data-only layer must be a lower layer's.
//   - With index=on, a metacopy file whose origin is not the file below is an error.
//   - A directory is its topmost lower directory's inode, which can't be a directory
//     above it as well.
//   - Before 5.15, a file whose origin is of another type is an error.
//   - Where redirects are not followed, that of a lower layer is an error. Before 6.16 one
//     of the upper layer is none if nothing is where it leads.
func showsUpper(ctx context.Context, s diff.Stack) error {
	tree, err := (&mountutil.Mounts{Opener: s.Opener}).OpenTree(s.Upper)
	if err != nil {
		return err
	}
	defer tree.Close()
	pool := fswalk.NewPool(0)
	defer pool.Close()
	m := upperMarks{Stack: s, marks: whiteout.NamespaceOf(s.Features)}
	defer func() {
		if m.lookup != nil {
			m.lookup.Close()
		}
	}()
	return m.directory(ctx, pool.Root(tree.FD(), s.Upper), []string{"/"})
}

type upperMarks struct {
	diff.Stack
	marks  *whiteout.Namespace
	lookup *native.Engine // nil until a redirect is met
}

// directory checks what is in a directory, whose path in the view is the last of above;
// before that are those of the directories above it.
func (m *upperMarks) directory(ctx context.Context, d *fswalk.Dir, above []string) error {
	list, err := d.List(ctx)
	if err != nil {
		return err
	}
	for _, e := range list {
		// A container that runs may have removed or replaced it meanwhile: the walk says so.
		if err := m.entry(ctx, d, e.Name, above); err != nil && !inode.Vanished(err) {
			return err
		}
	}
	return ctx.Err()
}

func (m *upperMarks) entry(ctx context.Context, d *fswalk.Dir, name string, above []string) error {
	var st sys.Stat
	if err := d.Stat(name, sys.StatAll, &st); err != nil {
		return err
	}
	path := diff.Join(above[len(above)-1], name)
	if st.Format() != sys.Directory && kernel.StrictOrigins() {
		if err := m.origin(ctx, d, name, path); err != nil {
			return err
		}
	}
	switch st.Format() {
	case sys.Regular:
		return m.file(ctx, d, name, path)
	case sys.Directory:
		redirect, _, err := m.mark(d, name, m.marks.Redirect)
		switch {
		case err != nil || len(redirect) == 0:
		case m.Features.RedirectFollow:
			err = m.redirected(ctx, d, name, path, above)
		default:
			err = m.notFollowed(ctx, d, name, path, above[len(above)-1])
		}
		if err != nil {
			return err
		}
		return m.directory(ctx, d.Child(name, st.Dev, st.Ino), append(slices.Clone(above), path))
	}
	return nil
}

// redirected refuses a directory with a redirect if a directory above it can be met below it
// again: its topmost lower directory is one of those that the redirect leads to, or is
// inside one, or may be reached by a redirect of a lower layer from there.
func (m *upperMarks) redirected(ctx context.Context, d *fswalk.Dir, name, path string, above []string) error {
	inside, err := m.merged(ctx, path)
	if errors.Is(err, syscall.ESTALE) {
		return m.refuse(d, name, "is a directory above it, too")
	}
	if err != nil || len(inside) == 0 {
		return ignoreUnreadable(err)
	}
	for _, dir := range above {
		lower, err := m.merged(ctx, dir)
		if err != nil || len(lower) == 0 {
			return ignoreUnreadable(err)
		}
		for _, part := range inside {
			again := part.layer == lower[0].layer && (part.at == lower[0].at || strings.HasPrefix(lower[0].at, strings.TrimSuffix(part.at, "/")+"/"))
			if !again && part.layer < lower[0].layer {
				again, err = m.redirects(ctx, part)
			}
			if err != nil {
				return err
			}
			if again {
				return m.refuse(d, name, "may have "+diff.QuotePath(dir)+" inside, which is above it")
			}
		}
	}
	return nil
}

// notFollowed refuses a directory whose redirect is not followed and, as the kernel looks
// an upper directory up, no error either. parent is where it is in the view. A redirect is
// not read below what no lower layer has, and on an opaque directory.
func (m *upperMarks) notFollowed(ctx context.Context, d *fswalk.Dir, name, path, parent string) error {
	if _, err := m.explain(ctx, path); err != nil {
		return ignoreUnreadable(err)
	}
	opaque, _, err := m.mark(d, name, m.marks.Opaque)
	if err != nil || whiteout.IsOpaque(opaque) {
		return err
	}
	if below, err := m.merged(ctx, parent); err != nil || len(below) == 0 {
		return ignoreUnreadable(err)
	}
	return m.refuse(d, name, "has a redirect that is not followed and leads nowhere")
}

// lowerDir is a directory of a lower layer.
type lowerDir struct {
	layer int    // 1 is the topmost lower one
	at    string // path within the layer
}

// explain asks the native engine, which looks names up as the kernel does.
func (m *upperMarks) explain(ctx context.Context, path string) (x diff.Explanation, err error) {
	if m.lookup == nil {
		if m.lookup, err = native.Open(ctx, m.Stack); err != nil {
			return x, err
		}
	}
	return m.lookup.Explain(ctx, path, diff.Options{Content: diff.ContentNever})
}

// ignoreUnreadable returns err unless the view has an error at the path, which it then has
// in every mount.
func ignoreUnreadable(err error) error {
	if inode.Unreadable(err) {
		return nil
	}
	return err
}

// merged returns the lower directories that the new view merges at a path, topmost first.
func (m *upperMarks) merged(ctx context.Context, path string) (dirs []lowerDir, err error) {
	x, err := m.explain(ctx, path)
	for _, l := range x.Layers {
		if l.Kind == diff.LayerLower && l.New != nil && l.New.Merged {
			dirs = append(dirs, lowerDir{l.Number, l.New.At})
		}
	}
	return dirs, err
}

// redirects reports whether a directory in a lower directory has a redirect.
func (m *upperMarks) redirects(ctx context.Context, in lowerDir) (found bool, err error) {
	tree, err := (&mountutil.Mounts{Opener: m.Opener}).OpenTree(m.Lower[in.layer-1])
	if err != nil {
		return false, err
	}
	defer tree.Close()
	fd, err := sys.OpenDirBelow(tree.FD(), strings.TrimPrefix(diff.Join(in.at, "."), "/"), sys.NoLinks)
	if err != nil {
		return false, err
	}
	defer sys.Close(fd)
	pool := fswalk.NewPool(0)
	defer pool.Close()
	var walk func(d *fswalk.Dir) error
	walk = func(d *fswalk.Dir) error {
		list, err := inode.List(ctx, d)
		for _, e := range list {
			var st sys.Stat
			if found || err != nil {
				break
			}
			// What can't be looked up is merged with nothing, in any mount.
			if err = ignoreUnreadable(inode.Refusal(d.Stat(e.Name, sys.StatAll, &st))); err != nil || st.Format() != sys.Directory {
				continue
			}
			if _, found, err = m.mark(d, e.Name, m.marks.Redirect); err == nil && !found {
				err = walk(d.Child(e.Name, st.Dev, st.Ino))
			}
		}
		return ignoreUnreadable(err)
	}
	err = walk(pool.Root(fd, filepath.Join(m.Lower[in.layer-1], in.at)))
	return found, err
}

// origin refuses a file that only the upper layer's lookup refuses, for its origin.
func (m *upperMarks) origin(ctx context.Context, d *fswalk.Dir, name, path string) error {
	if _, has, err := m.mark(d, name, m.marks.Origin); err != nil || !has {
		return err
	}
	_, err := m.explain(ctx, path)
	if inode.Unreadable(err) {
		return m.refuse(d, name, "can't be read, for its origin mark perhaps")
	}
	return err
}

func (*upperMarks) refuse(d *fswalk.Dir, name, what string) error {
	return &diff.UnsupportedError{
		Op:     "mount the new view",
		Reason: d.DisplayPath(name) + " " + what + ", which only the overlay itself shows as it is: mount it and name where, or use the native engine",
	}
}

func (m *upperMarks) mark(d *fswalk.Dir, name, attr string) (value []byte, has bool, err error) {
	err = d.Use(func(fd int) (err error) {
		value, has, err = sys.FindXattr(fd, name, attr)
		return d.WrapXattr(attr, name, err)
	})
	return value, has, err
}

func (m *upperMarks) file(ctx context.Context, d *fswalk.Dir, name, path string) error {
	if !m.Features.Metacopy && len(m.Data) == 0 {
		return nil
	}
	if _, is, err := m.mark(d, name, m.marks.Metacopy); err != nil || !is {
		return err
	}
	redirect, _, err := m.mark(d, name, m.marks.Redirect)
	if err != nil {
		return err
	}
	if len(m.Data) > 0 && strings.HasPrefix(string(redirect), "/") {
		return m.refuse(d, name, "is a metacopy file that may have its data in a data-only layer")
	}
	origin, _, err := m.mark(d, name, m.marks.Origin)
	if err != nil || !m.Features.Index || len(origin) == 0 {
		return err
	}
	if _, err = m.explain(ctx, path); inode.Unreadable(err) {
		return m.refuse(d, name, "is a metacopy file with another origin, which index=on refuses")
	}
	return err
}
