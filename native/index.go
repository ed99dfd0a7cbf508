package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// index is the inode index of a work directory, as it was when it was opened.
// With index=on, a lower inode that has an entry here is shown as that entry at
// every name that it has in the lower layers and that the upper does not hide:
// also at names of which the upper knows nothing. An entry that is no such inode
// makes those names unreadable.
type index struct {
	fd   int
	path string
	// names has the entries by the handle of the lower inode: several where
	// file systems have inodes with equal handles (fresh ones of btrfs do).
	names map[sys.Handle][]indexEntry
	// links is how many names the indexed inodes have in the lower layers, at most.
	// It is counted there: what overlay.nlink says of an entry may be made up.
	// unknown if the inodes can't be opened by their handles.
	links int
	// single: one of them may have a single name.
	single bool
}

const unknown = -1

type indexEntry struct {
	name   string
	origin whiteout.Origin
}

// openIndex reads the index of the work directory. nil means that nothing is
// indexed.
func openIndex(ctx context.Context, s diff.Stack, layers []layer) (*index, error) {
	if s.Work == "" {
		return nil, &diff.SettingError{Setting: diff.SettingWork, Err: refuse("index=on, and the work directory with the index is not known; name it")}
	}
	work, err := mountutil.Open(s, s.Work)
	if err != nil {
		return nil, fmt.Errorf("open the work directory: %w", err)
	}
	defer work.Close()
	path := filepath.Join(s.Work, "index")
	fd, err := sys.OpenDirAt(int(work.Fd()), "index")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no index is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("open the inode index: %w", &fs.PathError{Op: "open", Path: path, Err: err})
	}
	x := &index{fd: fd, path: path, names: map[sys.Handle][]indexEntry{}}
	if err = x.read(ctx, s.Features, layers); err == nil && len(x.names) > 0 {
		err = distinguishable(layers)
	}
	if err != nil || len(x.names) == 0 {
		sys.Close(fd)
		return nil, err
	}
	return x, nil
}

// read lists the entries, but no temporary files. Directories count where one is looked
// up with nfs_export=on, and where a file is, whose entry they can't be.
func (x *index) read(ctx context.Context, f diff.Features, layers []layer) error {
	pool := fswalk.NewPool(0)
	defer pool.Close()
	dir := pool.Root(x.fd, x.path)
	entries, err := dir.List(ctx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		origin, err := whiteout.ParseIndexName(e.Name)
		if err != nil || origin.Upper {
			continue
		}
		x.names[origin.Handle] = append(x.names[origin.Handle], indexEntry{e.Name, origin})
		if x.links != unknown {
			x.count(origin, f, layers)
		}
	}
	return nil
}

// count adds the names of an indexed inode to links.
func (x *index) count(origin whiteout.Origin, f diff.Features, layers []layer) {
	st, err := statOrigin(origin, layers)
	switch {
	case errors.Is(err, syscall.ESTALE):
	case err != nil:
		x.links, x.single = unknown, true
	case st.Format() == sys.Directory && f.NFSExport:
		x.links++
	case st.Format() == sys.Directory:
	default:
		x.links += int(st.Nlink)
		x.single = x.single || st.Nlink < 2
	}
}

// statOrigin opens the inode of a handle in the lower layers' file systems and returns
// what stat says of it. ESTALE: it is in none of them.
func statOrigin(origin whiteout.Origin, layers []layer) (st sys.Stat, err error) {
	for i, l := range layers[1:] {
		asked := func(other layer) bool { return other.device == l.device }
		if !l.mayHave(origin) || slices.ContainsFunc(layers[1:i+1], asked) {
			continue
		}
		fd, err := sys.OpenHandle(l.tree.FD(), origin.Handle)
		if errors.Is(err, syscall.ESTALE) {
			continue
		}
		if err == nil {
			err = sys.StatAt(fd, "", sys.StatAll, &st)
			sys.Close(fd)
		}
		if err != nil {
			return st, &fs.PathError{Op: "open_by_handle_at", Path: l.path, Err: err}
		}
		return st, nil
	}
	return st, syscall.ESTALE
}

// distinguishable refuses layers on several file systems of which one does not tell
// which it is: a handle means something within one only.
func distinguishable(layers []layer) error {
	for _, l := range layers[1:] {
		if l.device != layers[1].device && !l.identified {
			return refuse("index=on over lower layers on several file systems, and that of %s does not tell which it is", diff.QuotePath(l.path))
		}
		if l.device != layers[1].device && !layers[1].identified {
			return refuse("index=on over lower layers on several file systems, and that of %s does not tell which it is", diff.QuotePath(layers[1].path))
		}
	}
	return nil
}

// find returns the entry of a lower inode, "" if it has none.
func (x *index) find(l layer, h sys.Handle) string {
	for _, e := range x.names[h] {
		if l.mayHave(e.origin) {
			return e.name
		}
	}
	return ""
}

// handle returns the file handle of an inode, a zero one if its file system
// has none.
func handle(ref *inode.Ref) (h sys.Handle, err error) {
	err = ref.Dir.Use(func(fd int) error {
		var err error
		h, err = sys.HandleAt(fd, ref.Name)
		if errors.Is(err, syscall.EOPNOTSUPP) {
			return nil
		}
		return ref.Dir.Wrap("name_to_handle_at", ref.Name, err)
	})
	return h, err
}

// search is what one walk knows of the names that only the index knows.
type search struct {
	*index
	dir *fswalk.Dir

	mu    sync.Mutex
	found map[string]struct{} // names of indexed inodes in lower layers, hidden or not
	above map[string]struct{} // the directories above them
}

// goesOn reports whether there may be names that were not found yet. Then no
// directory may be passed over because the upper has nothing in it.
func (s *search) goesOn() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.links == unknown || len(s.found) < s.links
}

// sees notes that h is a name of an indexed inode.
func (s *search) sees(ref *inode.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := ref.Dir.DisplayPath(ref.Name)
	if _, known := s.found[path]; known {
		return
	}
	s.found[path] = struct{}{}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if _, known := s.above[dir]; known {
			return
		}
		s.above[dir] = struct{}{}
		if dir == filepath.Dir(dir) {
			return
		}
	}
}

// isAbove reports whether an indexed inode was found below one of these directories: by
// redirects, they may be shown at several places.
func (s *search) isAbove(lowers []part) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(lowers, func(p part) bool {
		_, is := s.above[filepath.Clean(p.dir.DisplayPath(""))]
		return is
	})
}

// note notes what the old view shows at a name, whatever the new one does: the name
// need not be looked for any more.
func (l *lookup) note(o *object) error {
	if l.search == nil || o == nil || !l.search.goesOn() {
		return nil
	}
	_, err := l.entryOf(o.meta, o.layer)
	return err
}

// entryOf returns the name of the index entry of what a lower layer has, "" if there is
// none.
func (l *lookup) entryOf(ref *inode.Ref, layer int) (string, error) {
	if !l.features.NFSExport && ref.IsDir() || !l.search.single && ref.Stat.Nlink < 2 && !ref.IsDir() {
		return "", nil
	}
	h, err := handle(ref)
	if err != nil {
		return "", err
	}
	name := l.search.find(l.layers[layer], h)
	if name != "" {
		l.search.sees(ref)
	}
	return name, nil
}

// indexed does what the kernel's ovl_lookup_index does (Linux 6.18): it returns the
// index entry that is shown where the upper layer has nothing, nil if there is none, and
// fails where an entry can't be that of what was found. checked: of an upper directory,
// that hits[0] is what it was copied up from.
func (l *lookup) indexed(up *probe, hits []*probe) (*probe, error) {
	var name string
	var format uint32
	var err error
	switch {
	case up != nil && !up.ref.IsDir():
		name, format, err = l.entryOfOrigin(up)
	case len(hits) > 0:
		format = hits[0].ref.Stat.Format()
		name, err = l.entryOf(&hits[0].ref, hits[0].layer)
	}
	if err != nil || name == "" {
		return nil, err
	}
	p, err := l.probe(0, l.search.dir, name)
	if err != nil || p.absent {
		return nil, err
	}
	of := up
	if of == nil {
		of = hits[0]
	}
	bad := func(reason string) error {
		return markError(&of.ref, l.marks.Origin, "its entry in the index, "+p.ref.Dir.DisplayPath(name)+", "+reason, syscall.EIO)
	}
	switch {
	case whiteout.IsDevice(&p.ref.Stat):
		return nil, bad("says that it was deleted")
	case p.ref.Stat.Format() != format:
		return nil, bad("is of another type")
	case format == sys.Directory && up == nil:
		return nil, bad("says that it is shown elsewhere")
	case format == sys.Directory:
		up.indexed = true
		same, err := l.pointsTo(&p.ref, up)
		if err == nil && !same {
			err = bad("is that of another upper directory")
		}
		return nil, err
	case up != nil:
		return nil, nil //nolint:nilnil // the upper layer's entry is shown, be it the same inode or not
	}
	entry := l.probes.new()
	*entry = *p
	// Its names may be the lower inode's only, which its own count leaves out.
	entry.ref.Stat.Nlink = max(entry.ref.Stat.Nlink, hits[0].ref.Stat.Nlink)
	return entry, nil
}

// entryOfOrigin returns the name of the index entry, and the type, of what up was copied
// up from, if that is known.
func (l *lookup) entryOfOrigin(up *probe) (name string, format uint32, err error) {
	origin, _, ok, err := l.origin(&up.ref, l.marks.Origin)
	if err != nil || !ok || l.search.names[origin.Handle] == nil {
		return "", 0, err
	}
	st, ok := l.copiedFrom(origin, up)
	if !ok {
		return "", 0, nil
	}
	for i, layer := range l.layers {
		if i > 0 && layer.mayHave(origin) {
			if name = l.search.find(layer, origin.Handle); name != "" {
				return name, st.Format(), nil
			}
		}
	}
	return "", 0, nil
}
