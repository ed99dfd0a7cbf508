package overlaydiff

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// showsUpper returns an error that matches [diff.ErrUnsupported] if the upper directory,
// mounted as one more lower layer, may show something else than as the upper one. It
// reads the marks of the upper directory alone. Where overlayfs makes a difference
// (ovl_lookup, Linux 6.18):
//
//   - A metacopy file with its data in a data-only layer must be a lower layer's.
//   - With index=on, the origin of a metacopy file is checked.
//   - A directory is its topmost lower directory's inode, which can't be a directory
//     above it as well.
func showsUpper(ctx context.Context, s diff.Stack) error {
	if !s.Features.RedirectFollow && !s.Features.Metacopy && len(s.Data) == 0 {
		return nil
	}
	tree, err := (&mountutil.Mounts{Opener: s.Opener}).OpenTree(s.Upper)
	if err != nil {
		return err
	}
	defer tree.Close()
	pool := fswalk.NewPool(0)
	defer pool.Close()
	m := upperMarks{Stack: s, marks: whiteout.NamespaceOf(s.Features)}
	return m.directory(ctx, pool.Root(tree.FD(), s.Upper), []string{"/"})
}

type upperMarks struct {
	diff.Stack
	marks *whiteout.Namespace
}

// directory checks what is in a directory. lower has the paths in the lower layers of
// the directories above and, at last, of this one; "" is none.
func (m upperMarks) directory(ctx context.Context, d *fswalk.Dir, lower []string) error {
	list, err := d.List(ctx)
	if err != nil {
		return err
	}
	for _, e := range list {
		// A container that runs may have removed or replaced it meanwhile: the walk says so.
		if err := m.entry(ctx, d, e.Name, lower); err != nil && !inode.Vanished(err) {
			return err
		}
	}
	return ctx.Err()
}

func (m upperMarks) entry(ctx context.Context, d *fswalk.Dir, name string, lower []string) error {
	var st sys.Stat
	if err := d.Stat(name, sys.StatAll, &st); err != nil {
		return err
	}
	switch st.Format() {
	case sys.Regular:
		return m.file(d, name)
	case sys.Directory:
		at, err := m.lowerPath(d, name, lower[len(lower)-1])
		if err != nil {
			return err
		}
		if at != "" && m.Features.RedirectFollow && slices.Contains(lower, at) {
			return m.refuse(d, name, "is a lower directory that is a directory above it, too")
		}
		return m.directory(ctx, d.Child(name, st.Dev, st.Ino), append(slices.Clone(lower), at))
	}
	return nil
}

func (upperMarks) refuse(d *fswalk.Dir, name, what string) error {
	return &diff.UnsupportedError{
		Op:     "mount the new view",
		Reason: d.DisplayPath(name) + " " + what + ", which only the overlay itself shows as it is: mount it and name where, or use the native engine",
	}
}

func (m upperMarks) mark(d *fswalk.Dir, name, attr string) (value []byte, has bool, err error) {
	err = d.Use(func(fd int) (err error) {
		value, has, err = sys.FindXattr(fd, name, attr)
		return d.WrapXattr(attr, name, err)
	})
	return value, has, err
}

func (m upperMarks) file(d *fswalk.Dir, name string) error {
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
	if err == nil && m.Features.Index && len(origin) > 0 {
		return m.refuse(d, name, "is a metacopy file with an origin that index=on checks")
	}
	return err
}

// lowerPath returns which path in the lower layers a directory is merged with, "" for
// none. above is the path of the directory that it is in.
func (m upperMarks) lowerPath(d *fswalk.Dir, name, above string) (string, error) {
	opaque, _, err := m.mark(d, name, m.marks.Opaque)
	if err != nil || whiteout.IsOpaque(opaque) {
		return "", err
	}
	value, _, err := m.mark(d, name, m.marks.Redirect)
	if err != nil {
		return "", err
	}
	to, err := whiteout.ParseRedirect(value)
	switch {
	case err == nil && strings.HasPrefix(to, "/"):
		return to, nil
	case above == "":
		return "", nil
	case to == ".", to == "..": // refused on lookup
		return "", nil
	case err == nil && to != "":
		return path.Join(above, to), nil
	}
	return path.Join(above, name), nil
}
