package layer

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/idmap"
)

// exporter makes entries of a layer of what an engine finds, in order.
type exporter struct {
	opts   ExportOptions
	pipe   *pipe
	output *output
	onRace func(string) error

	ids     diff.IDMap          // to the container
	dirs    []parent            // those above the item at hand
	written map[uint64]struct{} // hashes of the paths of directories that are in the layer
	seed    maphash.Seed
	groups  map[diff.Inode]*group
	stayed  stayed
	opaque  []string // directories marked opaque
	skip    string   // left out with all below it; "" none
	pass    pass

	mu     sync.Mutex // for what readers and the writer tell
	result Exported
}

// parent is a directory above the item at hand. It is written when something in it is.
type parent struct {
	item    diff.Item
	written bool
	opaque  bool // it, or one above, is marked opaque in the layer
}

func newExporter(ctx context.Context, opts diff.Options, o ExportOptions, out *output) *exporter {
	x := &exporter{
		opts: o, output: out, onRace: opts.OnRace, written: map[uint64]struct{}{}, seed: maphash.MakeSeed(),
		groups: map[diff.Inode]*group{}, stayed: stayed{}, ids: diff.IDMap{Users: o.UIDs, Groups: o.GIDs}.Inverse(),
	}
	x.pipe = newPipe(ctx, x, out)
	return x
}

// raced tells of a path that changed while it was read.
func (x *exporter) raced(path string) error {
	if x.onRace == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.onRace(path)
}

// inexpressible notes what a layer can't say.
func (x *exporter) inexpressible(path string, what diff.What, why string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.result.Inexpressible++
	if x.opts.OnLack != nil {
		x.opts.OnLack(Lack{path, what, why})
	}
}

// pass is what a walk over the changes is for.
type pass uint8

const (
	writing pass = iota // what changed
	looking             // nothing is written: which names of an inode did not change
	linking             // names that did not change are written
)

// item writes what an item takes.
func (x *exporter) item(it *diff.Item) error {
	for len(x.dirs) > 0 && !within(it.Path, x.dirs[len(x.dirs)-1].item.Path) {
		x.dirs = x.dirs[:len(x.dirs)-1]
	}
	if x.skip != "" && within(it.Path, x.skip) {
		return nil
	}
	inOpaque := len(x.dirs) > 0 && x.dirs[len(x.dirs)-1].opaque
	switch {
	case it.Kind == diff.Delete && inOpaque:
		return nil
	case it.Kind == diff.Delete:
		return x.whiteout(it.Path)
	case it.Entry.Type == 0 || it.Entry.Type == diff.Dir:
		return x.directory(it, inOpaque)
	case x.inOpaque(it):
		return nil // has its links
	case it.Kind == 0 && !inOpaque && x.pass != linking:
		x.stayed.add(it)
		return nil
	}
	return x.add(it)
}

// inOpaque reports whether a name that is looked for because of its inode was
// carried before, as all that is in a directory marked opaque.
func (x *exporter) inOpaque(it *diff.Item) bool {
	return it.Kind == 0 && x.pass != writing && slices.ContainsFunc(x.opaque, func(dir string) bool { return within(it.Path, dir) })
}

// within reports whether path is below dir.
func within(path, dir string) bool {
	return len(path) > len(dir) && path[len(dir)] == '/' && strings.HasPrefix(path, dir)
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func isReserved(path string) bool { return strings.HasPrefix(baseName(path), whiteoutPrefix) }

// reserved reports whether a name can't be carried, and is to be left out.
func (x *exporter) reserved(path string) (bool, error) {
	if !isReserved(path) {
		return false, nil
	}
	if !x.opts.SkipReserved {
		return false, &ReservedError{Path: path}
	}
	x.skip = path
	if x.pass == writing {
		x.result.Skipped++
		if x.opts.OnLack != nil {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.opts.OnLack(Lack{path, 0, "its name begins with .wh."})
		}
	}
	return true, nil
}

// unmapped reports whether an entry is left out because its owner has no mapping. If it
// is not to be left out, the error comes when it is written.
func (x *exporter) unmapped(it *diff.Item) (bool, error) {
	if !x.opts.SkipUnmapped || x.ids.IsZero() {
		return false, nil
	}
	e := it.Entry
	if e.Type == 0 {
		var err error
		if e, _, err = it.Payload.Again(); err != nil {
			return false, ignoreRaced(err)
		}
	}
	_, errUser := idmap.User(x.ids, int64(e.UID))
	_, errGroup := idmap.Group(x.ids, int64(e.GID))
	err := errors.Join(errUser, errGroup)
	if err == nil {
		return false, nil
	}
	x.skip = it.Path
	if x.pass == writing {
		x.result.Unmapped++
		if x.opts.OnLack != nil {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.opts.OnLack(Lack{it.Path, 0, strings.ReplaceAll(err.Error(), "\n", ", ")})
		}
	}
	return true, nil
}

// replaced deletes what the old view has at the path of an item that is left out: it is
// gone, whatever is in its place.
func (x *exporter) replaced(it *diff.Item) error {
	if x.pass != writing || it.Kind != diff.Modify || it.Entry.Type == diff.Dir && it.What&diff.WhatType == 0 {
		return nil
	}
	return x.whiteout(it.Path)
}

// directory takes a directory, which is written if it changed, or when something
// in it is.
func (x *exporter) directory(it *diff.Item, inOpaque bool) error {
	d := parent{item: *it, opaque: inOpaque}
	if it.Kind != 0 || inOpaque {
		if skip, err := x.reserved(it.Path); skip || err != nil {
			return err
		}
		if out, err := x.unmapped(it); out || err != nil {
			return errors.Join(err, x.replaced(it))
		}
	}
	mark := x.opts.Opaque && it.Opaque && !inOpaque && x.pass == writing
	d.opaque = d.opaque || mark
	x.dirs = append(x.dirs, d)
	if it.Kind == 0 && !d.opaque || x.pass != writing {
		return nil
	}
	if it.Old != nil {
		if err := x.lostXattrs(it); err != nil {
			return err
		}
	}
	if ok, err := x.parents(); !ok || !mark {
		return err
	}
	x.opaque = append(x.opaque, it.Path)
	x.result.Whiteouts++
	return x.pipe.send(&entry{path: diff.Join(it.Path, opaqueMarker), whiteout: true})
}

// parents writes the directories above the item at hand that are not in the layer
// yet. ok: none of them, and so the item, is left out.
func (x *exporter) parents() (ok bool, err error) {
	for i := range x.dirs {
		d := &x.dirs[i]
		if d.written {
			continue
		}
		if skip, err := x.reserved(d.item.Path); skip || err != nil {
			return false, err
		}
		if out, err := x.unmapped(&d.item); out || err != nil {
			return false, err
		}
		d.written = true
		hash := maphash.String(x.seed, d.item.Path)
		if _, ok := x.written[hash]; ok {
			continue
		}
		x.written[hash] = struct{}{}
		if err := x.pipe.send(&entry{path: d.item.Path, Entry: d.item.Entry, payload: d.item.Payload}); err != nil {
			return false, err
		}
	}
	return true, nil
}

// whiteout writes that path is deleted.
func (x *exporter) whiteout(path string) error {
	if skip, err := x.reserved(path); skip || err != nil {
		return err
	}
	if ok, err := x.parents(); !ok {
		return err
	}
	x.result.Whiteouts++
	name := baseName(path)
	return x.pipe.send(&entry{path: strings.TrimSuffix(path, name) + whiteoutPrefix + name, whiteout: true})
}

// add writes what is no directory.
func (x *exporter) add(it *diff.Item) error {
	if why := unfitType(&it.Entry); why != "" {
		x.inexpressible(it.Path, 0, why)
		if it.Kind == diff.Modify && !isReserved(it.Path) { // what it took the place of is gone nevertheless
			return x.whiteout(it.Path)
		}
		return nil
	}
	if skip, err := x.reserved(it.Path); skip || err != nil {
		return err
	}
	if out, err := x.unmapped(it); out || err != nil {
		return errors.Join(err, x.replaced(it))
	}
	if ok, err := x.parents(); !ok {
		return err
	}
	e := &entry{path: it.Path, Entry: it.Entry, payload: it.Payload}
	x.link(e, it)
	return x.pipe.send(e)
}

// lostXattrs notes the extended attributes that a directory had and has no more:
// what takes a layer only adds to those of a directory that is there.
func (x *exporter) lostXattrs(it *diff.Item) error {
	has, err := it.Payload.Xattrs()
	if err != nil {
		return ignoreRaced(err)
	}
	had, err := it.Old.Xattrs()
	if err != nil {
		return ignoreRaced(err)
	}
	for _, a := range had {
		if !slices.ContainsFunc(has, func(b diff.Xattr) bool { return a.Name == b.Name }) {
			x.inexpressible(it.Path, diff.WhatXattrs, "the directory lost the extended attribute "+diff.QuotePath(a.Name))
		}
	}
	return nil
}
