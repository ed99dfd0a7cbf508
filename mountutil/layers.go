//go:build linux

package mountutil

import (
	"cmp"
	"path/filepath"
	"slices"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/internal/witness"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// upper finds the upper and the work directory.
func (r *resolver) upper() error {
	got, err := r.seek(quest{
		word: word{r.parser.Upper, r.parser.literalUpper}, kind: "upper", handles: r.rootHandle, own: true,
		examine: func(dir int) (*witness.Layer, error) { return r.mount.Top(dir, true) },
	})
	if err != nil {
		return err
	}
	r.mount.Keep(got.layer)
	r.stack.Upper = r.keep(got)
	return r.work(got)
}

// lowers finds the lower layers, topmost first.
func (r *resolver) lowers() error {
	var parents []sys.Identity
	for i := range r.parser.Lower {
		got, err := r.seek(r.lower(i, false))
		if err != nil {
			return err
		}
		if got.doubt {
			r.doubtful = append(r.doubtful, len(r.mount.Layers()))
		}
		r.mount.Keep(got.layer)
		r.stack.Lower[i] = r.keep(got)
		parents = append(parents, got.parent)
	}
	r.exchanged(parents)
	if r.mount.SameNumber() {
		return nil
	}
	e := &LayerError{Mount: r.name, Kind: "upper", Path: cmp.Or(r.stack.Upper, r.stack.Lower[0]), Evidence: "/", Refuted: true}
	layers := r.mount.Layers()
	for i, path := range r.stack.Lower { // of which the right one is on another file system
		if layers[i+len(layers)-len(r.stack.Lower)].Verdict != witness.Proven {
			e.Kind, e.Path = "lower", path
			break
		}
	}
	return e
}

// exchanged notes as doubtful the lower layers that may have each other's place since the
// overlay was mounted. Container engines have a directory for each layer. If that one is
// renamed, its ctime changes, but not its mtime, nor any time of the layer inside. (Engines
// also create mount points there, which changes both.) A directory that holds all layers
// exchanges none.
func (r *resolver) exchanged(parents []sys.Identity) {
	if r.mounted == nil {
		return
	}
	renamed, distinct := []int{}, map[uint64]bool{}
	for i, parent := range parents {
		if parent.Ctime.After(*r.mounted) && parent.Ctime.After(parent.Mtime) {
			renamed = append(renamed, i+len(r.mount.Layers())-len(parents))
			distinct[parent.Ino] = true
		}
	}
	if len(distinct)+len(r.doubtful) < 2 { // there is no other layer to exchange it with
		return
	}
	for _, i := range renamed {
		if !slices.Contains(r.doubtful, i) {
			r.doubtful = append(r.doubtful, i)
		}
	}
}

// lower is the quest for a lower layer.
func (r *resolver) lower(i int, elsewhere bool) quest {
	path := r.parser.Lower[i]
	q := quest{word: word{path, path}, kind: "lower", elsewhere: elsewhere, handles: func(yield func(way) bool) { r.orphans(i, yield) }}
	switch {
	case r.parser.Upper != "":
		q.examine = func(dir int) (*witness.Layer, error) { return r.mount.Lower(dir, i+1) }
	case i > 0:
		q.examine = func(dir int) (*witness.Layer, error) { return r.mount.Lower(dir, i) }
	default:
		q.handles, q.own = r.rootHandle, true
		q.examine = func(dir int) (*witness.Layer, error) { return r.mount.Top(dir, false) }
	}
	return q
}

// explain makes sure that the layers explain what the mount shows, if a layer could not be
// proven; if they don't, that layer is looked for elsewhere. Where a name may have been
// another layer's, everything is compared.
func (r *resolver) explain() error {
	uppers := len(r.mount.Layers()) - len(r.stack.Lower)
	for i, l := range r.mount.Layers() {
		if l.Verdict == witness.Proven || i < uppers {
			continue
		}
		if len(r.mount.Orphans(1)) == 0 {
			break
		}
		if got, err := r.seek(r.lower(i-uppers, true)); err == nil {
			r.mount.Replace(i, got.layer)
			if got.doubt && !slices.Contains(r.doubtful, i) {
				r.doubtful = append(r.doubtful, i)
			}
			r.stack.Lower[i-uppers] = r.keep(got)
		}
	}
	r.stack.Unproven = nil
	for i, l := range r.mount.Layers() {
		switch {
		case l.Verdict == witness.Proven && !l.OwnersUnknown():
		case i < uppers:
			r.stack.Unproven = append(r.stack.Unproven, r.stack.Upper)
		default:
			r.stack.Unproven = append(r.stack.Unproven, r.stack.Lower[i-uppers])
		}
	}
	evidence, path := "", cmp.Or(r.stack.Upper, r.stack.Lower[0])
	switch {
	case r.elsewhere || len(r.doubtful) > 0:
		var err error
		if evidence, err = r.mount.Audit(r.ctx); err == nil && evidence == "" {
			err = r.ordered()
		}
		if err != nil {
			return err
		}
	case len(r.stack.Unproven) > 0:
		path = r.stack.Unproven[0]
		if orphans := r.mount.Orphans(1); len(orphans) > 0 {
			evidence = orphans[0].Path
		}
	}
	if evidence != "" {
		return &LayerError{Mount: r.name, Kind: "lower", Path: path, Evidence: evidence}
	}
	r.undatedLowers()
	return nil
}

// undatedLowers makes the lower layers unproven if there are several, and nothing tells whether
// they have each other's names by now.
func (r *resolver) undatedLowers() {
	if !r.undated || len(r.stack.Lower) < 2 {
		return
	}
	for _, path := range r.stack.Lower {
		if !slices.Contains(r.stack.Unproven, path) {
			r.stack.Unproven = append(r.stack.Unproven, path)
		}
	}
}

// mostDoubtful is how many layers may have each other's names: of so many, all pairs are
// tried.
const mostDoubtful = 4

// ordered makes sure that layers which may have each other's names are in the right order:
// in the other one they do not explain what the mount shows.
func (r *resolver) ordered() error {
	layers := r.mount.Layers()
	path := func(i int) string { return r.stack.Lower[i-len(layers)+len(r.stack.Lower)] }
	// It does not matter where an empty one is.
	doubtful := slices.DeleteFunc(slices.Clone(r.doubtful), func(i int) bool { return layers[i].Empty() })
	for n, i := range doubtful {
		for _, j := range doubtful[:n] {
			evidence := ""
			if len(doubtful) <= mostDoubtful {
				var err error
				r.mount.Swap(i, j)
				evidence, err = r.mount.Audit(r.ctx)
				r.mount.Swap(i, j)
				if err != nil {
					return err
				}
			}
			if evidence == "" {
				return &LayerError{Mount: r.name, Kind: "lower", Path: path(i)}
			}
		}
	}
	return nil
}

// data finds the data-only layers, in which nothing is looked up but the contents of
// metacopy files.
func (r *resolver) data() error {
	for i, path := range r.parser.Data {
		got, err := r.seek(quest{
			word: word{path, path}, kind: "data-only lower", handles: func(func(way) bool) {},
			examine: r.mount.Data,
		})
		if err != nil {
			return err
		}
		r.stack.Data[i] = r.add(known{way: got.way, id: got.layer.ID})
		if got.layer.Verdict != witness.Proven {
			r.stack.Unproven = append(r.stack.Unproven, r.stack.Data[i])
		}
		got.layer.Close()
	}
	return nil
}

// work finds the work directory, which matters where the index is used.
func (r *resolver) work(upper found) error {
	w := word{r.parser.Work, r.parser.literalWork}
	sibling := way{pid: upper.pid, path: filepath.Join(filepath.Dir(upper.path), filepath.Base(w.path)), uncover: upper.uncover}
	name := r.parser.Work
	r.stack.Work = ""
	for _, search := range r.searches(quest{word: w, handles: func(yield func(way) bool) { yield(sibling) }}) {
		for w := range search.ways {
			dir, err := w.open()
			if err != nil {
				continue
			}
			id, ok := r.isWork(dir.fd, upper.layer)
			sys.Close(dir.fd)
			if ok {
				r.stack.Work = r.add(known{way: w, id: id})
				return nil
			}
		}
	}
	if !r.stack.Features.Index {
		r.stack.Work = name // nobody reads it
	}
	return nil
}

// isWork reports whether a directory can be the work directory of this mount: it is on
// the file system of the upper one, whose handle its index has (ovl_verify_upper, Linux
// 4.16). It also finds out when the overlay was mounted: the kernel makes work/work anew
// each time (ovl_workdir_create).
func (r *resolver) isWork(dir int, upper *witness.Layer) (id sys.Identity, ok bool) {
	if err := sys.IdentityAt(dir, "", &id); err != nil || id.Dev != upper.ID.Dev {
		return id, false
	}
	if index, err := sys.OpenDirAt(dir, "index"); err == nil {
		defer sys.Close(index)
		value, ok, err := sys.GetXattr(index, "", whiteout.NamespaceOf(r.stack.Features).Prefix+"upper")
		if origin, e := whiteout.ParseOrigin(value); err == nil && ok && e == nil && !upper.Has(origin.Handle) {
			return id, false
		}
	}
	var work sys.Identity
	made := slices.Contains(r.parser.Generic, "rw") && r.parser.Fsync != "volatile"
	if sys.IdentityAt(dir, "work", &work) == nil && made {
		if r.undated = !work.HasBtime; !r.undated {
			r.mounted = &work.Btime
		}
	}
	return id, true
}
