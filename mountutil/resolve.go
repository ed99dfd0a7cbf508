//go:build linux

package mountutil

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/internal/witness"
)

// resolve makes a stack of the mount's options. Its directories are found by the words of
// the mount table and proven to be the layers.
func (t target) resolve(ctx context.Context) (diff.Stack, error) {
	p, err := parse(t.info.VFSOptions, true)
	if err != nil {
		return diff.Stack{}, fmt.Errorf("read the options of the overlay at %s: %w", t.name, err)
	}
	s := p.Stack(KernelDefaults())
	s.Mountpoint = t.path
	if len(s.Lower) == 0 {
		return diff.Stack{}, fmt.Errorf("read the options of the overlay at %s: no lower layer is listed: name the layers yourself", t.name)
	}
	root, err := t.openRoot()
	if err != nil {
		return diff.Stack{}, err
	}
	defer root.Close()
	mount, err := witness.Open(int(root.Fd()), s.Features)
	if err != nil {
		return diff.Stack{}, pathError("stat", t.path, err, "it vanished meanwhile: try again")
	}
	defer mount.Close()
	r := resolver{target: t, ctx: ctx, mount: mount, parser: p, stack: s}
	r.opener = &proven{mount: t.name, dirs: map[string]known{}}
	if err := r.mountpoint(root); err != nil {
		return diff.Stack{}, err
	}
	return r.find()
}

// openRoot opens the root of the mount for reading.
func (t target) openRoot() (*os.File, error) {
	fd, err := sys.Open(unix.AT_FDCWD, t.path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, pathError("open", t.path, err, "run as root, or as the user and in the user namespace of the process")
	}
	f := os.NewFile(uintptr(fd), t.path)
	var id sys.Identity
	if err := sys.IdentityAt(fd, "", &id); err != nil || id.Dev != t.root.dev() || id.Ino != t.root.Ino {
		f.Close()
		return nil, fmt.Errorf("find the overlay at %s: something else was mounted there meanwhile: try again", t.name)
	}
	return f, nil
}

// resolver finds the layers of one mount.
type resolver struct {
	target
	ctx    context.Context //nolint:containedctx // lives for one call
	mount  *witness.Mount
	parser parser
	stack  diff.Stack
	opener *proven

	bases   []string      // from which relative words may lead on
	moved   []relocation  // how words led to layers that were found
	mounted *sys.Timespec // when the overlay was mounted; nil if that is not known
	// undated: when the overlay was mounted is not known because the file system does not
	// record when a directory was made (tmpfs on old kernels).
	undated bool
	// elsewhere: a layer was not where its name leads.
	elsewhere bool
	// doubtful are those of the mount's layers that may be another one of them: the name is
	// another's by now, or says nothing.
	doubtful []int
}

// word is the name of a directory in the mount table. The kernel shows a path that was
// given as a string with its backslashes, one that was given by descriptor (Linux 6.13)
// without any: literal is the path in that case.
type word struct{ path, literal string }

// quest is the search for one layer.
type quest struct {
	word
	kind    string // "upper" or "lower", for errors
	examine func(dir int) (*witness.Layer, error)
	handles iter.Seq[way] // ways by file handle
	own     bool          // the handle is that of the directory itself, and so proves it
	// elsewhere: the place to which the word leads is known to be the wrong one.
	elsewhere bool
}

// found is the result of a quest.
type found struct {
	way
	opened
	layer *witness.Layer
	plain bool // it is where its name leads
	doubt bool // whether it is this layer and not another one
}

func (r *resolver) mountpoint(root *os.File) error {
	var id sys.Identity
	if err := sys.IdentityAt(int(root.Fd()), "", &id); err != nil {
		return err
	}
	w := way{path: r.path}
	if r.pid != 0 {
		w = way{pid: r.pid, path: r.info.Mountpoint}
	}
	r.opener.dirs[r.path] = known{way: w, id: id}
	return nil
}

// find finds the upper layer first, which tells most about the others. If a lower layer
// is not found, the stack has the upper one alone.
func (r *resolver) find() (diff.Stack, error) {
	r.bases = r.relativeBases()
	if r.parser.Upper != "" {
		if err := r.upper(); err != nil {
			return diff.Stack{}, err
		}
	}
	err := r.lowers()
	if err == nil {
		err = r.explain()
	}
	if err == nil {
		err = r.data()
	}
	if err != nil {
		r.stack.Lower, r.stack.Data, r.stack.Unproven = nil, nil, nil
	}
	r.stack.Opener = r.opener
	if err == nil {
		err = CheckOwners(r.stack)
	}
	return r.stack, err
}

// keep makes a directory that was found a layer of the stack, and returns its name there.
//
// Its id map may be unknown. If the directory is where its name leads, it was most likely
// mounted from there, without a map, and somebody changed an owner: the layer counts as
// unproven. Runtimes mount an id-mapped layer at a temporary place, so that its name leads
// nowhere afterwards; then [CheckOwners] refuses.
func (r *resolver) keep(f found) string {
	k := known{way: f.way, id: f.layer.ID, owners: f.layer.Owners}
	if f.layer.OwnersUnknown() && !f.plain {
		k.copied = f.layer.Copied
	}
	return r.add(k)
}

// add notes where a directory of the stack is, and returns its name there.
func (r *resolver) add(k known) string {
	w, id := k.way, k.id
	name := w.name()
	for n := 2; ; n++ { // one path, two directories: one covers the other
		if old, ok := r.opener.dirs[name]; !ok || old.id.SameInode(&id) {
			r.opener.dirs[name] = k
			return name
		}
		name = fmt.Sprintf("%s (%d)", w.name(), n)
	}
}

// seek finds one layer. A directory that is unproven counts only where the word leads, and
// not if it is younger than the mount.
func (r *resolver) seek(q quest) (found, error) {
	var first error
	var unproven *found
	for _, search := range r.searches(q) {
		for w := range search.ways {
			if err := r.ctx.Err(); err != nil {
				return found{}, err
			}
			l, o, err := r.examine(w, q.examine)
			switch {
			case err != nil:
			case l.Verdict == witness.Proven && (search.plain || q.own || r.free(q, l)):
				if unproven != nil {
					unproven.layer.Close()
				}
				r.relocate(q.word, w)
				r.elsewhere = r.elsewhere || !search.plain
				return found{w, o, l, search.plain, !search.named && !r.tied(q, w) || r.changed(w, l, o.link)}, nil
			case l.Verdict == witness.Unproven && unproven == nil && r.mayBe(q, search, l):
				unproven = &found{w, o, l, search.plain, r.changed(w, l, o.link)}
				continue
			default:
				err = &LayerError{Mount: r.name, Kind: q.kind, Path: w.name(), Evidence: l.Evidence, Refuted: true}
				l.Close()
			}
			if search.plain && (first == nil || errors.Is(first, fs.ErrNotExist)) {
				first = err
			}
		}
		if unproven != nil && search.plain {
			return *unproven, nil
		}
	}
	if unproven != nil {
		r.relocate(q.word, unproven.way)
		r.elsewhere = true
		return *unproven, nil
	}
	if errno := unix.Errno(0); errors.As(first, &errno) {
		first = errno
	}
	if le := (*LayerError)(nil); !errors.As(first, &le) {
		if first == nil { // the word means something in the process alone that mounted
			first = fs.ErrNotExist
		}
		first = &LayerError{Mount: r.name, Kind: q.kind, Path: q.path, Err: first}
	}
	return found{}, first
}

// examine opens a directory and has it examined.
func (r *resolver) examine(w way, examine func(dir int) (*witness.Layer, error)) (l *witness.Layer, o opened, err error) {
	if o, err = w.open(); err != nil {
		return nil, o, err
	}
	if l, err = examine(o.fd); err != nil {
		return nil, o, pathError("look at the layer", w.name(), err, "run as root, or mend the file system that holds this layer")
	}
	return l, o, nil
}

// mayBe reports whether an unproven directory can be the layer: its name leads there, or
// led there, and it is not younger than the mount.
func (r *resolver) mayBe(q quest, s search, l *witness.Layer) bool {
	young := r.mounted != nil && l.ID.HasBtime && l.ID.Btime.After(*r.mounted)
	return s.named && !q.elsewhere && !young && (s.plain || r.free(q, l))
}

// free reports whether a directory that was not found where its name leads is not where
// another word leads, or led when the layers before it were found, and overlaps none of these.
func (r *resolver) free(q quest, l *witness.Layer) bool {
	for _, other := range r.mount.Layers() {
		if l.Overlaps(other) {
			return false
		}
	}
	for _, path := range slices.Concat(r.parser.Lower, r.parser.Data) {
		if path == q.path {
			continue
		}
		other := word{path, path}
		for _, ways := range []iter.Seq[way]{r.plain(other), r.relocated(other)} {
			for w := range ways {
				if r.isAt(w, &l.ID) {
					return false
				}
			}
		}
	}
	return true
}

// tied reports whether the path of a directory ends in more names of the word than of any
// other lower layer's, at least in one.
func (r *resolver) tied(q quest, w way) bool {
	own := commonSuffix(q.path, w.path)
	for _, path := range r.parser.Lower {
		if path != q.path && commonSuffix(path, w.path) >= own {
			return false
		}
	}
	return own > 0
}

// isAt reports whether a way leads to a directory.
func (r *resolver) isAt(w way, id *sys.Identity) bool {
	dir, err := w.open()
	if err != nil {
		return false
	}
	defer sys.Close(dir.fd)
	var there sys.Identity
	return sys.IdentityAt(dir.fd, "", &there) == nil && there.SameInode(id)
}

// changed reports whether the name of a layer may be that of another one by now: the
// directory, or a link that its path is, was changed since the overlay was mounted. To
// rename an inode changes its ctime.
func (r *resolver) changed(w way, l *witness.Layer, link sys.Timespec) bool {
	if r.mounted == nil || r.parser.Upper != "" && len(r.mount.Layers()) == 0 {
		return false // the upper layer is written to
	}
	return link.After(*r.mounted) || l.ID.Ctime.After(*r.mounted) || r.covers(w, l)
}

// covers reports whether the mount that a way leads to is younger than the overlay. Before
// Linux 6.8 that is not known, nor in another namespace, whose mounts are copies.
func (r *resolver) covers(w way, l *witness.Layer) bool {
	own := r.mount.ID()
	return r.pid == 0 && w.pid == 0 && w.uncover == 0 && own.Unique && l.ID.Unique && l.ID.Mount > own.Mount
}
