package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
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
// also at names of which the upper knows nothing.
type index struct {
	fd   int
	path string
	// names has the entries by the handle of the lower inode: several where
	// file systems have inodes with equal handles (fresh ones of btrfs do).
	names map[sys.Handle][]indexEntry
	// hidden is how many names the indexed inodes have at most that the upper
	// layer does not name; unknown if an entry doesn't tell.
	hidden int
	// fileSystems has the UUID of each layer's file system, by layer, where
	// the layers are on several: handles mean something within one only.
	fileSystems map[int][16]byte
}

const unknown = -1

type indexEntry struct {
	name       string
	fileSystem [16]byte
}

// openIndex reads the index of the work directory. nil means that nothing is
// indexed.
func openIndex(ctx context.Context, s diff.Stack, marks *whiteout.Namespace, layers []layer) (*index, error) {
	if s.Work == "" {
		return nil, refuse("index=on, and the work directory with the index is not known; name it (--work)")
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
	if err = x.read(ctx, marks); err == nil && len(x.names) > 0 {
		err = x.identify(layers)
	}
	if err != nil || len(x.names) == 0 {
		sys.Close(fd)
		return nil, err
	}
	return x, nil
}

// read lists the entries that stand for inodes: not the directories and
// whiteouts which nfs_export=on adds, nor temporary files.
func (x *index) read(ctx context.Context, marks *whiteout.Namespace) error {
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
		if err != nil {
			continue
		}
		var st sys.Stat
		if err := dir.Stat(e.Name, sys.StatAll, &st); err != nil {
			if inode.Vanished(err) {
				continue
			}
			return err
		}
		if st.Format() == sys.Directory || whiteout.IsDevice(&st) {
			continue
		}
		value, _, err := sys.GetXattr(x.fd, e.Name, marks.Nlink)
		if inode.Vanished(err) {
			continue
		}
		if err != nil {
			return dir.WrapXattr(marks.Nlink, e.Name, err)
		}
		x.names[origin.Handle] = append(x.names[origin.Handle], indexEntry{e.Name, origin.FileSystem})
		x.count(value)
	}
	return nil
}

// count adds to hidden what an entry's link count says. Of the inode's links
// one is the entry and the others are names in the upper layer.
func (x *index) count(nlink []byte) {
	n, ok := whiteout.ParseNlink(nlink)
	switch {
	case x.hidden == unknown:
	case !ok:
		x.hidden = unknown
	default:
		x.hidden += max(n+1, 0)
	}
}

// identify learns the file systems of the lower layers if they differ.
func (x *index) identify(layers []layer) error {
	var first sys.Stat
	several := false
	for i, l := range layers[1:] {
		var st sys.Stat
		if err := sys.StatAt(l.tree.FD(), "", sys.StatInode, &st); err != nil {
			return &fs.PathError{Op: "statx", Path: l.path, Err: err}
		}
		if i == 0 {
			first = st
		}
		several = several || st.Dev != first.Dev
	}
	if !several {
		return nil
	}
	x.fileSystems = map[int][16]byte{}
	for i, l := range layers[1:] {
		id, ok := sys.FileSystemID(l.tree.FD())
		if !ok {
			return refuse("index=on over lower layers on several file systems, and that of %s does not tell which it is", diff.QuotePath(l.path))
		}
		x.fileSystems[i+1] = id
	}
	return nil
}

// find returns the entry of a lower inode, "" if it has none.
func (x *index) find(layer int, ref *inode.Ref) (string, error) {
	h, err := handle(ref)
	if err != nil {
		return "", err
	}
	for _, e := range x.names[h] {
		if x.fileSystems == nil || e.fileSystem == [16]byte{} || e.fileSystem == x.fileSystems[layer] {
			return e.name, nil
		}
	}
	return "", nil
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
	found map[string]struct{} // names in lower layers that show an indexed inode
}

// goesOn reports whether there may be names that were not found yet. Then no
// directory may be passed over because the upper has nothing in it.
func (s *search) goesOn() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hidden == unknown || len(s.found) < s.hidden
}

// substitute returns the index entry that is shown in place of h, which a lower
// layer has and the upper does not; nil if there is none.
func (l *lookup) substitute(h *hit) (*hit, error) {
	s := l.search
	if s == nil || h.ref.IsDir() || h.ref.Stat.Nlink < 2 && !l.features.NFSExport {
		return nil, nil //nolint:nilnil // none is an answer
	}
	name, err := s.find(h.layer, &h.ref)
	if err != nil || name == "" {
		return nil, err
	}
	p, err := l.probe(s.dir, name)
	if err != nil || p.absent || p.whiteout {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found[h.ref.Dir.DisplayPath(h.ref.Name)] = struct{}{}
	entry := l.hit(p, 0)
	// Its names may be the lower inode's only, which its own count leaves out.
	entry.ref.Stat.Nlink = max(entry.ref.Stat.Nlink, h.ref.Stat.Nlink)
	return entry, nil
}

// matchesOrigin reports whether h is what up was copied up from, as far as up
// tells.
func (l *lookup) matchesOrigin(up, h *hit) (bool, error) {
	var value []byte
	var said bool
	err := up.ref.Dir.Use(func(fd int) (err error) {
		value, said, err = sys.GetXattr(fd, up.ref.Name, l.marks.Origin)
		return up.ref.Dir.WrapXattr(l.marks.Origin, up.ref.Name, err)
	})
	if err != nil {
		return false, err
	}
	origin, err := whiteout.ParseOrigin(value)
	if err != nil {
		// To a directory that has none, the kernel adds it on lookup. One that
		// can't be read is none of a file, and the wrong one of a directory.
		return !up.ref.IsDir() || !said, nil //nolint:nilerr // as said
	}
	got, err := handle(&h.ref)
	return got == origin.Handle, err
}
