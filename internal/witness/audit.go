package witness

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// Audit compares everything that the mount shows with everything in the layers that were
// kept. It returns the path of the first entry at which the mount does not show what these
// layers, in this order, make it show; "" if there is none. It costs as much as a walk of
// the whole tree, and is for stacks about which there is a doubt that no witness removes: a
// layer was renamed, for instance, so that its name may have been another's.
//
// Where a redirect leads to another path, nothing below it is compared. Entries that
// change meanwhile are looked at again.
func (m *Mount) Audit(ctx context.Context) (string, error) {
	a := audit{m: m, ctx: ctx}
	dirs := make([]part, 0, len(m.layers))
	for _, l := range m.layers {
		dirs = append(dirs, part{l, l.fd})
	}
	found, err := a.dir(m.root, dirs, "", 0)
	return found, err
}

type audit struct {
	m   *Mount
	ctx context.Context //nolint:containedctx // lives for one call
}

// part is a directory of a layer that the mount merges at some path.
type part struct {
	l  *Layer
	fd int
}

const auditDepth = 256 // descriptors of each layer stay open on the way down

func (a *audit) dir(merged int, parts []part, path string, depth int) (string, error) {
	if err := a.ctx.Err(); err != nil || depth > auditDepth {
		return "", err
	}
	names, err := a.names(merged, parts)
	if err != nil {
		return "", unless(err, fs.ErrNotExist)
	}
	for name := range names {
		expect, below, err := a.expect(parts, name)
		if err == nil {
			var bad bool
			if bad, err = a.differs(merged, path, name, expect); bad {
				closeParts(below)
				return path + "/" + name, nil
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errDoubt) {
			closeParts(below)
			return "", err
		}
		if err == nil && len(below) > 0 {
			next, e := sys.OpenDirAt(merged, name)
			if e == nil {
				var found string
				found, err = a.dir(next, below, path+"/"+name, depth+1)
				sys.Close(next)
				if found != "" || err != nil {
					closeParts(below)
					return found, err
				}
			}
		}
		closeParts(below)
	}
	return "", nil
}

// names returns the names in a directory of the mount and in its parts.
func (a *audit) names(merged int, parts []part) (map[string]struct{}, error) {
	names := map[string]struct{}{}
	add := func(fd int) error {
		if err := sys.Rewind(fd); err != nil {
			return err
		}
		return sys.ReadDir(fd, func(d sys.Dirent) bool {
			if _, ok := names[d.Name]; !ok {
				names[strings.Clone(d.Name)] = struct{}{}
			}
			return true
		})
	}
	if err := add(merged); err != nil {
		return nil, err
	}
	for _, p := range parts {
		if err := add(p.fd); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// expected is what the layers make the mount show at a name.
type expected struct {
	part
	id    sys.Identity
	shown bool // false: nothing
	// lower is the topmost lower layer's entry below one of the upper layer.
	lower *part
}

// errDoubt: the layers alone do not tell what the mount shows.
var errDoubt = errors.New("not told by the layers")

// expect looks a name up in the parts, as ovl_lookup does. below are the opened parts of a
// merged directory.
func (a *audit) expect(parts []part, name string) (e expected, below []part, err error) {
	for _, p := range parts {
		var id sys.Identity
		err := sys.IdentityAt(p.fd, name, &id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return e, below, err
		}
		hidden := id.Whiteout
		if id.Format() == sys.Regular && id.Size == 0 {
			if hidden, err = sys.HasXattr(p.fd, name, a.m.marks.Whiteout); err != nil {
				return e, below, err
			}
		}
		switch {
		case hidden:
			return e, below, nil
		case !e.shown:
			e.part, e.id, e.shown = p, id, true
		case e.id.Format() != sys.Directory:
			if e.lower == nil {
				e.lower = &part{p.l, p.fd}
			}
			return e, below, nil
		}
		if id.Format() != sys.Directory {
			if e.id.Format() == sys.Directory || !e.l.upper {
				return e, below, nil // it ends the directories above it
			}
			continue
		}
		if e.id.Format() != sys.Directory {
			continue
		}
		fd, err := sys.OpenDirAt(p.fd, name)
		if err != nil {
			return e, below, err
		}
		below = append(below, part{p.l, fd})
		if e.l.upper && !p.l.upper && e.lower == nil {
			e.lower = &part{p.l, p.fd}
		}
		value, _, err := sys.FindXattr(fd, "", a.m.marks.Opaque)
		if err != nil || whiteout.IsOpaque(value) {
			return e, below, err
		}
		if a.m.elsewhereMerged(fd, "") {
			return e, below, errDoubt
		}
	}
	return e, below, nil
}

func closeParts(parts []part) {
	for _, p := range parts {
		sys.Close(p.fd)
	}
}

// differs reports whether the mount shows something else than expected at a name in dir. A process may be
// writing to the upper layer, so what differs has to stay.
func (a *audit) differs(merged int, dir, name string, want expected) (bool, error) {
	for range 3 {
		bad, err := a.differsNow(merged, dir, name, &want)
		if !bad || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (a *audit) differsNow(merged int, dir, name string, want *expected) (bool, error) {
	e, ok, err := a.m.look(merged, name)
	absent := errors.Is(err, fs.ErrNotExist)
	switch {
	case err == nil && !ok: // something is mounted there
		return false, errDoubt
	case !want.shown:
		return !absent && err == nil, nil
	case absent:
		var id sys.Identity
		return !errors.Is(sys.IdentityAt(want.fd, name, &id), fs.ErrNotExist), nil
	case err != nil: // the mount can't show it either
		return false, nil
	case e.Format() != want.id.Format():
		return true, sys.IdentityAt(want.fd, name, &want.id)
	case want.l.upper:
		return a.otherOrigin(dir, name, &e, want)
	case a.m.index && want.id.Nlink > 1 && want.id.Format() != sys.Directory:
		return false, nil
	}
	same, _ := a.m.same(&e, want.l, want.fd, name, &want.id)
	return !same, nil
}

// otherOrigin reports whether an entry of the upper layer was copied up from another inode
// than the one that the layers below have at its name.
func (a *audit) otherOrigin(dir, name string, e *seen, want *expected) (bool, error) {
	if want.lower == nil || !e.known || e.real.Upper {
		return false, nil
	}
	h, err := sys.HandleAt(want.lower.fd, name)
	if err != nil || h == e.real.Handle {
		return false, nil
	}
	if want.id.Format() == sys.Directory {
		return true, nil // without a redirect it is merged with no other one
	}
	// It may have been renamed to here in the upper layer. Then its own inode is elsewhere.
	return a.m.elsewhere(e.real.Handle, dir+"/"+name), nil
}
