package native

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// layer is an opened layer directory.
type layer struct {
	tree *mountutil.Tree
	path string
	root diff.Inode // its directory
	// device is that of its root. identified: its file system tells its UUID. mayBe
	// reports whether it can have one.
	device     uint64
	identified bool
	mayBe      func(uuid [16]byte) bool
	uuidOff    bool        // see [diff.Features]
	overlay    bool        // it is on an overlay itself
	lens       *inode.Lens // how the mount shows what is stored in it
}

// mayHave reports whether a handle can be that of an inode of the layer's file system
// (ovl_decode_real_fh, Linux 6.18). Mounted with uuid=off, handles have no file system.
func (l layer) mayHave(origin whiteout.Origin) bool {
	if l.uuidOff {
		return origin.FileSystem == [16]byte{}
	}
	return l.mayBe(origin.FileSystem)
}

// setTraps notes the directories that no lookup in a layer may come to: the roots of
// all layers, and what overlayfs has in the work directory.
func (e *Engine) setTraps(s diff.Stack) {
	e.traps = map[diff.Inode]struct{}{}
	for _, l := range append(slices.Clone(e.layers), e.data...) {
		e.traps[l.root] = struct{}{}
	}
	if s.Work == "" {
		return
	}
	work, err := mountutil.Open(s, s.Work)
	if err != nil {
		return // it is not there any more
	}
	defer work.Close()
	fd := int(work.Fd())
	for _, name := range []string{"", "work", "index"} {
		var st sys.Stat
		if sys.StatAt(fd, name, sys.StatInode, &st) == nil {
			e.traps[diff.Inode{Dev: st.Dev, Ino: st.Ino}] = struct{}{}
		}
	}
}

func openLayer(ctx context.Context, mounts *mountutil.Mounts, kind, path string) (layer, error) {
	if err := ctx.Err(); err != nil {
		return layer{}, err
	}
	tree, err := mounts.OpenTree(path)
	if err != nil {
		return layer{}, fmt.Errorf("open the %s directory: %w", kind, err)
	}
	l := layer{tree: tree, path: path}
	if err := l.look(); err != nil {
		_ = tree.Close()
		return layer{}, err
	}
	return l, nil
}

// look learns which inode and file system the layer is, and refuses one that would be
// read wrongly.
func (l *layer) look() error {
	if sys.IsCasefolded(l.tree.FD()) {
		return refuse("%s is casefolded: its names match names of other layers in another case", diff.QuotePath(l.path))
	}
	var st sys.Stat
	if err := sys.StatAt(l.tree.FD(), "", sys.StatInode, &st); err != nil {
		return &fs.PathError{Op: "statx", Path: l.path, Err: err}
	}
	l.root, l.device = diff.Inode{Dev: st.Dev, Ino: st.Ino}, st.Dev
	l.mayBe, l.identified = sys.MayHaveID(l.tree.FD())
	l.overlay = sys.IsOverlay(l.tree.FD())
	return nil
}

// trapped returns the error with which the kernel refuses a directory that is the root
// of a layer or part of the work directory (ovl_lookup_trap_inode, Linux 5.2, commit 146d62e5a586): one layer
// is inside another.
func (l *lookup) trapped(p *probe) error {
	if !l.isTrap(&p.ref) {
		return nil
	}
	return inode.Refused{Err: &fs.PathError{Op: "look up", Path: p.ref.Dir.DisplayPath(p.ref.Name), Err: fmt.Errorf("it is a directory of this overlay itself, inside one of its layers: %w", syscall.ELOOP)}}
}

func (r *resolver) isTrap(ref *inode.Ref) bool {
	_, trap := r.traps[diff.Inode{Dev: ref.Stat.Dev, Ino: ref.Stat.Ino}]
	return trap
}
