package native

// This file, probe.go, index.go and origin.go port the lookup of fs/overlayfs of Linux 6.18, function
// by function. Where an older kernel does something else, [rules] says so.
//
//	here                     fs/overlayfs                   since or changed in
//	lookup.resolve           ovl_lookup                     3.18; merged lower layers 4.0
//	lookup.descend           its loop over the lower layers 4.10, metacopy 4.19 (9d3dfea3d35a)
//	lookup.walk              ovl_lookup_layer and, for      4.10
//	                         each component, ovl_lookup_single
//	state                    struct ovl_lookup_data         4.10
//	state.halt               its stop
//	state.dir                its is_dir
//	state.meta               its metacopy                   4.19
//	state.absLast            its absolute_redirect          6.5
//	quiet                    its last
//	lookup.redirect          ovl_check_redirect             4.10; an invalid one is an error 4.19
//	whiteout.ParseRedirect   ovl_get_redirect_xattr         4.10
//	lookup.permitted         ovl_check_follow_redirect      6.16 ("ovl: make redirect/metacopy rejection consistent")
//	probe.isOpaque           ovl_get_opaquedir_val          3.18; x, which marks whiteouts, 6.8
//	probe.isMetacopy         ovl_check_metacopy_xattr       4.19; with a header 6.6 (bf07089081a0)
//	isWhiteout               ovl_path_is_whiteout           3.18; of a regular file 6.7 (bc8df7a3dc03)
//	lookup.trapped           ovl_lookup_trap_inode          5.2 (146d62e5a586)
//	shown                    ovl_hash_bylower, and the check in ovl_get_inode
//	lookup.provider, find    ovl_lookup_data_layers         6.5
//	lookup.verify            ovl_validate_verity            6.6 (184996e92e86)
//	lookup.belongs           ovl_verify_origin, with ovl_verify_fh 4.13, of directories 4.16
//	lookup.copiedFrom        ovl_check_origin               4.12
//	lookup.checkOrigin       its error, until               5.15 (ffb24e3c6578)
//	lookup.indexed           ovl_lookup_index               4.13, of directories 4.16
//	resolver.visible         ovl_can_list, with ovl_is_escaped_xattr 6.7 (dad02fad84cb)
//
// What the kernel keeps in a dentry is an [object] here. Names are looked up by one
// component at a time below a descriptor, so that no link is followed and no mount is
// entered, as the kernel's private clone of a layer's mount sees none.

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/kernel"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// part is a directory that one lower layer contributes to a merged directory.
type part struct {
	layer int // index in resolver.roots; larger is lower
	dir   *fswalk.Dir
}

// merged is a directory of a view: the upper layer's directory, nil if that has
// none, and those of the lower layers, topmost first.
type merged struct {
	upper  *fswalk.Dir
	lowers []part
}

func (p part) same(q part) bool { return p.layer == q.layer && p.dir.Same(q.dir) }

func sameParts(a, b []part) bool { return slices.EqualFunc(a, b, part.same) }

// resolver has what lookups of one stack share.
type resolver struct {
	*Engine
	roots  []part        // of the layers
	blobs  []*fswalk.Dir // the roots of the data-only layers
	search *search       // nil: no index, or nothing in it
}

// marked reports whether what lower layers say of where to go on matters at all.
func (r *resolver) marked() bool { return r.features.RedirectFollow || len(r.blobs) > 0 }

// lookup resolves one name after the other in both views, and remembers what it
// read of a name for the one view when it comes to the other.
type lookup struct {
	*view
	trace   *trace // nil: nobody asks how names were found
	probes  arena[probe]
	objects arena[object]

	dir      *dir // in which names are looked up
	held     []*fswalk.Dir
	heldDirs [1 + held]*fswalk.Dir
	name     name
	from, to *object // what the views show at name
}

// shows returns what a view shows at the last name.
func (l *lookup) shows(inNew bool) *object {
	if inNew {
		return l.to
	}
	return l.from
}

// reset forgets what was read. What resolve returned is gone.
func (l *lookup) reset() {
	l.probes.reset()
	l.objects.reset()
	l.from, l.to = nil, nil
}

// state goes with the search for a name from layer to layer downwards.
type state struct {
	want     string   // name in the parent, or absolute path, to look for next
	followed []*probe // what had the redirects that want comes from
	absLast  bool     // the redirect read last is absolute
	dir      bool     // a directory was found: only directories merge with it
	meta     bool     // what was found last is a metacopy file
	halt     bool     // nothing lower counts
}

// blame returns the entry whose redirect, of those that were followed, is the
// last with a component name.
func (st *state) blame(name string) *inode.Ref {
	for _, p := range slices.Backward(st.followed) {
		if slices.Contains(strings.Split(p.redir.value, "/"), name) {
			return &p.ref
		}
	}
	return &st.followed[0].ref // not reached: only a redirect brings the name up
}

func (st *state) absolute() bool { return strings.HasPrefix(st.want, "/") }

// resolve does what the kernel's lookup of name in parent does; nil means that
// the view has no such name. inNew: the view is the new one, which heeds the
// index. Errors that the kernel's lookup would return are [MarkError].
func (l *lookup) resolve(parent merged, name string, inNew bool) (*object, error) {
	if l.trace != nil {
		l.trace.inNew = inNew
	}
	st := state{want: name}
	var up *probe
	var err error
	if parent.upper != nil {
		// Without a layer below, and nowhere to be led to, no mark changes what is seen.
		quiet := !l.marked() && len(parent.lowers) == 0
		if up, err = l.walk(0, parent.upper, &st, quiet); err != nil {
			return nil, err
		}
	}
	if up != nil {
		if err := l.checkOrigin(up); err != nil {
			return nil, err
		}
	}
	upMeta := up != nil && st.meta
	cand := parent.lowers
	if st.absolute() { // from the roots: also of layers that the parent has nothing of
		cand = l.roots[1:]
	}
	hits, err := l.descend(cand, &st, up)
	if err != nil {
		return nil, err
	}
	blob := ""
	// The redirect of a lower metacopy file may lead into the data-only layers, which are
	// looked up when the file is opened (lazy lowerdata, 6.5). It needs no metacopy=on since
	// 6.16, so that the check is the other branch.
	if st.meta && len(hits) > 0 && len(l.blobs) > 0 && st.absLast {
		blob, st.meta = st.want, false
	} else if err := l.permitted(&st, st.meta, last(up, hits), false); err != nil {
		return nil, err
	}
	if st.meta || upMeta && len(hits) == 0 {
		return nil, markError(&last(up, hits).ref, l.marks.Metacopy, "the file that has its data is missing", syscall.EIO)
	}
	if up != nil && !up.ref.IsDir() && !upMeta {
		hits = nil // whatever there is below is hidden
	}
	if inNew && l.search != nil {
		entry, err := l.indexed(up, hits)
		if err != nil {
			return nil, err
		}
		if entry != nil {
			up = entry
			if upMeta, err = up.isMetacopy(l); err != nil {
				return nil, err
			}
		}
	}
	return l.newObject(up, upMeta, hits, blob), nil
}

// descend searches the lower layers.
func (l *lookup) descend(cand []part, st *state, up *probe) (hits []*probe, err error) {
	for j := 0; !st.halt && j < len(cand); j++ {
		c := cand[j]
		// The strict rule is asked before a layer is searched, the old one once something
		// is found there, so that each kernel is asked at its place; see permitted.
		if err := l.permitted(st, st.meta, last(up, hits), false); err != nil {
			return nil, err
		}
		quiet := j == len(cand)-1 // of the layers that the parent has
		if l.marked() {
			// A redirect may lead to any layer further down: the last is the lowest of the
			// stack. Of a file its marks count even there, since the data may be in the
			// data-only layers.
			quiet = c.layer == len(l.roots)-1 && (st.dir || len(l.blobs) == 0)
		}
		fromRoot := st.absolute()
		start := c.dir
		if fromRoot {
			start = l.roots[c.layer].dir
		}
		meta := st.meta
		h, err := l.walk(c.layer, start, st, quiet)
		if err != nil {
			return nil, err
		}
		if h == nil {
			continue
		}
		at := h // the one whose metacopy mark is at fault: h, or what led to h
		if meta {
			at = last(up, hits)
		}
		if err := l.permitted(st, meta || st.meta, at, true); err != nil {
			return nil, err
		}
		if up != nil && len(hits) == 0 {
			belongs, err := l.belongs(up, h)
			if err != nil || !belongs {
				return nil, err
			}
		}
		if !st.meta || len(hits) == 0 { // of metacopy files in the middle nothing counts
			hits = append(hits, h)
		}
		// A redirect that was read just now is absolute: go on from the roots, below this
		// layer. roots[1:] begins with layer 1, and j is incremented.
		if st.absolute() && !fromRoot {
			cand, j = l.roots[1:], c.layer-1
		}
	}
	return hits, nil
}

// walk looks in one layer, beginning at start, for what st wants. quiet: no
// layer below counts, so marks that only say where to go on are not read.
func (l *lookup) walk(layer int, start *fswalk.Dir, st *state, quiet bool) (*probe, error) {
	path, absolute := strings.CutPrefix(st.want, "/")
	names := []string{path}
	if absolute {
		names = strings.Split(path, "/")
	}
	dir := start
	for k, name := range names {
		if name == "." || name == ".." {
			return nil, markError(st.blame(name), l.marks.Redirect, "it has a component "+name, syscall.EACCES)
		}
		p, err := l.probe(layer, dir, name)
		if err != nil {
			return nil, err
		}
		if l.trace != nil {
			l.trace.met(layer, st.want, p)
		}
		if p.absent {
			return nil, nil //nolint:nilnil // absence is an answer
		}
		final := k == len(names)-1
		isDir := p.ref.IsDir()
		switch {
		case p.whiteout,
			final && st.meta && p.ref.Stat.Format() != sys.Regular,
			!isDir && (st.dir || !final):
			st.halt = true
			return nil, nil //nolint:nilnil // nothing here, and nothing below
		case !isDir:
			if st.meta, err = p.isMetacopy(l); err != nil {
				return nil, err
			}
			st.halt = !st.meta
			if st.halt || quiet { // a redirect of what is no metacopy file is left over from one
				return p, nil
			}
		default:
			if err := l.trapped(p); err != nil {
				return nil, err
			}
			st.dir = st.dir || final
			opaque := false
			if !quiet {
				if opaque, err = p.isOpaque(l); err != nil {
					return nil, err
				}
				st.halt = st.halt || opaque
			}
			if opaque || quiet { // the redirect is not read
				if final {
					return p, nil
				}
				dir = p.child()
				continue
			}
		}
		if err := l.redirect(p, st, len(names)-1-k); err != nil {
			return nil, err
		}
		if final {
			return p, nil
		}
		dir = p.child()
	}
	return nil, nil //nolint:nilnil // not reached: names is never empty
}

// redirect makes st want what p's redirect says, if it has one. after is how
// many components follow p on the path that is being walked; they stay. Components are
// counted from the end: a redirect of one before p may have made the beginning another.
// An absolute one searches on although a directory above was opaque, as in
// ovl_check_redirect ("d->stop = false").
func (l *lookup) redirect(p *probe, st *state, after int) error {
	to, err := p.redirect(l)
	st.absLast = false
	if err != nil || to == "" {
		return err
	}
	parts := strings.Split(st.want, "/")
	keep := parts[len(parts)-after:]
	if strings.HasPrefix(to, "/") {
		st.absLast, st.halt = true, false
		st.want = strings.Join(append([]string{to}, keep...), "/")
	} else {
		parts[len(parts)-after-1] = to
		st.want = strings.Join(parts, "/")
	}
	st.followed = append(st.followed, p)
	return nil
}

// permitted returns the error with which the kernel refuses to go where st leads,
// meta being whether the metacopy file at leads there, if the mount does not follow
// redirects or metacopy files. found: something is there; before 6.16 only that
// was refused.
func (l *lookup) permitted(st *state, meta bool, at *probe, found bool) error {
	meta, redirect := meta && !l.features.Metacopy, len(st.followed) > 0 && !l.features.RedirectFollow
	if !meta && !redirect || found == kernel.Running().StrictMarks {
		return nil
	}
	switch {
	case meta:
		return markError(&at.ref, l.marks.Metacopy, "the mount does not resolve metacopy files (metacopy=on does)", syscall.EPERM)
	case redirect:
		return markError(&st.followed[len(st.followed)-1].ref, l.marks.Redirect, "the mount does not follow redirects (redirect_dir=follow does)", syscall.EPERM)
	}
	return nil
}

func last(up *probe, hits []*probe) *probe {
	if len(hits) > 0 {
		return hits[len(hits)-1]
	}
	return up
}

// notFound reports whether err says that there is no such name.
func notFound(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENAMETOOLONG)
}
