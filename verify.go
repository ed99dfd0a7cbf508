package overlaydiff

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/scratch"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/naive"
)

// VerifyOptions of [Diff.Verify]. The zero value verifies what [Diff.Export] writes.
type VerifyOptions struct {
	// Layer is a layer that was made of these changes, by whatever program; nil: they
	// are exported.
	Layer io.Reader
	// Export says how; of Layer, what it leaves out on purpose.
	Export layer.ExportOptions
	// TempDir is where the layer is unpacked, on a file system that can have an upper
	// directory and has room for it. "" means [os.TempDir]; if that is on an overlay,
	// /var/tmp, /run, /dev/shm, or the parent of the upper directory.
	TempDir string
}

// Verified is what became of a verification.
type Verified struct {
	// Equal: the replayed view is the new view, but for what Inexpressible has.
	Equal bool `json:"equal"`
	// Differences has the first of them, Differ is how many there are.
	Differences []Difference `json:"differences"`
	Differ      int64        `json:"differ"`
	// Inexpressible is what layers can't say, and what was left out on purpose. Of a
	// layer that was given: what an export would have had to leave out.
	Inexpressible []Difference  `json:"inexpressible"`
	Applied       layer.Applied `json:"applied"`
}

// Difference is a path at which the replayed view is not the new view.
type Difference struct {
	Path string `json:"path"` // absolute within the view, bytes
	// What differs: "missing", "left over" (it should be gone), "hard links", or
	// names as of [diff.What]; in words, of what is inexpressible.
	What []string `json:"what"`
}

// mostDifferences is how many are listed.
const mostDifferences = 1000

// verifyPrefix begins the names of the directories in which layers are unpacked.
const verifyPrefix = ".overlaydiff-verify-"

// Verify applies a layer of the changes to a copy of the old view and compares that
// with the new view: contents, all metadata, extended attributes, which names are
// links of each other, and the times of the directories that the layer has. Nothing
// is copied: the old view is mounted with a new upper directory.
//
// Errors: those of [Diff.Export] and [layer.Apply], or one that matches
// [diff.ErrUnsupported] where an overlay can't be mounted. A difference is none.
func (d *Diff) Verify(ctx context.Context, opts VerifyOptions) (v Verified, err error) {
	dir := d.roomFor(opts.TempDir)
	parent, err := os.Open(dir)
	if err != nil {
		return v, fmt.Errorf("verify: open the directory to unpack in: %w", err)
	}
	defer parent.Close()
	room, err := scratch.New(parent, verifyPrefix)
	if err != nil {
		return v, &diff.SettingError{
			Setting: diff.SettingTempDir, Err: fmt.Errorf("verify: make a directory in %s: %w; name one that can be written to", diff.QuotePath(dir), err),
		}
	}
	defer func() { err = errors.Join(err, room.Remove(parent)) }()
	path, err := filepath.EvalSymlinks(room.Path()) // for the namespace that the mount is made in
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	v.Differences, v.Inexpressible = []Difference{}, []Difference{} // in JSON, lists
	opts.Export = d.owned(opts.Export)
	r := &replay{Diff: d, opts: opts, out: &v, ctx: ctx, lacks: map[string]diff.What{}}
	return v, r.run(path)
}

// replay is one verification.
type replay struct {
	*Diff
	ctx   context.Context //nolint:containedctx // lives for one verification
	opts  VerifyOptions
	out   *Verified
	lacks map[string]diff.What // of paths what the layer can't say; 0: nothing of them and of all below
}

func (r *replay) run(room string) error {
	for _, dir := range []string{"/upper", "/work"} {
		if err := os.Mkdir(room+dir, 0o700); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
	}
	stack := r.stack
	if r.oldDir != "" {
		stack = diff.Stack{Lower: []string{r.oldDir}}
	}
	if r.opts.Layer == nil {
		if err := r.applyOwn(room + "/upper"); err != nil {
			return err
		}
	}
	replayed, err := mountutil.OpenReplay(r.ctx, stack, room+"/upper", room+"/work")
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer replayed.Close()
	if r.opts.Layer != nil {
		if err := r.applyGiven(replayed); err != nil {
			return err
		}
	}
	if err := r.compare(replayed); err != nil {
		return err
	}
	if err := r.compareLayers(replayed); err != nil {
		return err
	}
	r.out.Equal = r.out.Differ == 0
	return nil
}

// export writes the layer, and notes what it lacks.
func (r *replay) export(w io.Writer) error {
	opts := r.opts.Export
	opts.Compression, opts.NoDigests = layer.None, true
	opts.OnLack = func(l layer.Lack) {
		if what, ok := r.lacks[l.Path]; ok && (what == 0 || l.What == 0) {
			r.lacks[l.Path] = 0
		} else {
			r.lacks[l.Path] |= l.What
		}
		if len(r.out.Inexpressible) < mostDifferences {
			r.out.Inexpressible = append(r.out.Inexpressible, Difference{l.Path, []string{l.Why}})
		}
	}
	_, err := r.Export(r.ctx, w, opts)
	return err
}

// applyOwn exports the layer and unpacks it to what becomes the upper directory: it
// stands alone. So whatever the lower layers have, there is a mark that hides it, while
// the kernel would not remove a directory that has whiteouts of its own
// (fs/overlayfs/dir.c, ovl_check_empty_dir).
func (r *replay) applyOwn(upper string) (err error) {
	pipe, wait := piped(r.export)
	defer func() {
		if werr := wait(); werr != nil {
			err = werr
		}
	}()
	o := r.applyOptions()
	o.Form = layer.Overlay
	dir, err := os.Open(upper)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer dir.Close()
	r.out.Applied, err = layer.ApplyAt(r.ctx, pipe, int(dir.Fd()), "a copy of the old view", o)
	return err
}

// applyGiven unpacks a layer that another program made, which may refer to what the
// old view has.
func (r *replay) applyGiven(to *mountutil.Tree) (err error) {
	// For what it lacks only: another program could not say that either.
	if err := r.export(io.Discard); err != nil {
		return err
	}
	r.out.Applied, err = layer.ApplyAt(r.ctx, r.opts.Layer, to.FD(), "a copy of the old view", r.applyOptions())
	if errors.Is(err, syscall.ENOTEMPTY) {
		err = &diff.UnsupportedError{
			Op: "verify a layer that is given", Err: err,
			Reason: err.Error() + "; the kernel does not remove a directory with whiteouts of the lower layers: apply the layer to a copy of the old view",
		}
	}
	return err
}

func (r *replay) applyOptions() layer.ApplyOptions {
	o := layer.ApplyOptions{Xattrs: r.opts.Export.Xattrs, UserXattr: r.stack.Features.UserXattr}
	o.UIDs, o.GIDs = r.opts.Export.UIDs, r.opts.Export.GIDs
	return o
}

// piped runs write beside who reads what it writes. wait ends it and returns its
// error.
func piped(write func(io.Writer) error) (pipe *io.PipeReader, wait func() error) {
	pipe, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		done <- err
	}()
	return pipe, func() error {
		pipe.CloseWithError(errStopped)
		if err := <-done; !errors.Is(err, errStopped) {
			return err
		}
		return nil
	}
}

var errStopped = errors.New("nobody reads any more")

// compare compares the replayed view with the new one as any two trees, and which
// names are links of each other: of all names, also those that are not in the layer.
func (r *replay) compare(replayed *mountutil.Tree) error {
	e, err := r.against(replayed)
	if err != nil {
		return err
	}
	defer e.Close()
	return e.Carry(r.ctx, r.walkOptions(), diff.Want{Parted: true}, func(items iter.Seq2[diff.Item, error]) error {
		links := links{{}, {}}
		for item, err := range items {
			if err != nil {
				return err
			}
			what := item.What.Names()
			switch {
			case item.Kind == diff.Add:
				what = []string{"missing"}
			case item.Kind == diff.Delete:
				what = []string{"left over"}
			case item.Kind == 0 && (item.Entry.Type == 0 || item.Entry.Type == diff.Dir || isReserved(item.Path) || r.unnumbered(item.Entry.Type) || links.pairs(item.Was, item.Entry.Inode)):
				continue
			case item.Kind == 0:
				what = []string{hardLinks}
			}
			r.differs(item.Path, what...)
		}
		return nil
	})
}

// unnumbered reports whether inode numbers in the mount do not tell which names are links
// of each other: user.* attributes can't be set on a symbolic link or a device. Without
// the origin mark a copied-up inode has the lower one's number until the kernel forgets it,
// and the upper one's from then on, name by name (seen on Linux 6.18).
func (r *replay) unnumbered(t diff.Type) bool {
	return r.stack.Mountpoint != "" && r.stack.Features.UserXattr && t != diff.File
}

// isReserved reports whether a layer can't have a path, since a name in it begins as
// whiteouts do.
func isReserved(path string) bool { return strings.Contains(path, "/.wh.") }

// hardLinks is the difference of a name that is linked to others than it should be.
const hardLinks = "hard links"

// links has which inode of one view is which of the other, both ways.
type links [2]map[diff.Inode]diff.Inode

// pairs reports whether two inodes belong together, as they do if neither was seen
// with another.
func (l *links) pairs(a, b diff.Inode) bool {
	knownA, okA := l[0][a]
	knownB, okB := l[1][b]
	if !okA && !okB {
		l[0][a], l[1][b] = b, a
		return true
	}
	return okA && okB && knownA == b && knownB == a
}

// against opens the naive engine on the replayed and the new view.
func (r *replay) against(replayed *mountutil.Tree) (*naive.Engine, error) {
	from := naive.Tree{FD: replayed.FD(), Closer: io.NopCloser(nil), Name: "replayed view"}
	if r.newDir != "" {
		f, err := openDir(r.newDir)
		if err != nil {
			return nil, err
		}
		return naive.Open(from, naive.Tree{FD: int(f.Fd()), Closer: f, Name: r.newDir}, naive.ProofNone), nil
	}
	after, err := openShown(r.ctx, r.stack)
	if err != nil {
		return nil, err
	}
	return naive.Open(from, naiveTree(after, "new view"), naive.ProofNone), nil
}

// differs notes a difference, unless layers can't say what it takes. Of what can't be
// there at all, something else must not be there either.
func (r *replay) differs(at string, what ...string) {
	if lack, ok := r.lacks[at]; ok {
		what = slices.DeleteFunc(what, func(w string) bool {
			if lack == 0 {
				return w == "missing" || w == hardLinks || isReserved(at)
			}
			return slices.Contains(lack.Names(), w)
		})
		if len(what) == 0 {
			return
		}
	}
	for dir := path.Dir(at); dir != "/" && len(r.lacks) > 0; dir = path.Dir(dir) {
		if lack, ok := r.lacks[dir]; ok && lack == 0 {
			return
		}
	}
	r.out.Differ++
	if len(r.out.Differences) < mostDifferences {
		r.out.Differences = append(r.out.Differences, Difference{at, what})
	}
}

// compareLayers compares what two layers say of the old view and the replayed one,
// and of the old view and the new one: of the times of directories, which are no
// changes. All else compare has found.
func (r *replay) compareLayers(replayed *mountutil.Tree) error {
	before, err := r.openOld()
	if err != nil {
		return err
	}
	again := &Diff{
		engine: naive.Open(before, naive.Tree{FD: replayed.FD(), Closer: io.NopCloser(nil), Name: "replayed view"}, naive.ProofNone),
		opts:   r.Diff.opts,
	}
	defer again.Close()
	opts := r.opts.Export
	opts.SkipReserved, opts.Compression, opts.NoDigests = true, layer.None, true
	opts.OnLack = nil
	gotPipe, gotWait := piped(func(w io.Writer) error { _, err := again.Export(r.ctx, w, opts); return err })
	wantPipe, wantWait := piped(func(w io.Writer) error { _, err := r.Export(r.ctx, w, opts); return err })
	err = r.lockstep(headers(gotPipe), headers(wantPipe))
	return errors.Join(err, gotWait(), wantWait())
}

func (r *replay) openOld() (naive.Tree, error) {
	if r.oldDir != "" {
		f, err := openDir(r.oldDir)
		if err != nil {
			return naive.Tree{}, err
		}
		return naive.Tree{FD: int(f.Fd()), Closer: f, Name: r.oldDir}, nil
	}
	t, err := mountutil.OpenView(r.ctx, r.stack, mountutil.Old)
	if err != nil {
		return naive.Tree{}, err
	}
	return naiveTree(t, "old view"), nil
}

// headers yields the headers of an archive.
func headers(in io.Reader) iter.Seq2[*tar.Header, error] {
	return func(yield func(*tar.Header, error) bool) {
		for t := tar.NewReader(in); ; {
			h, err := t.Next()
			if errors.Is(err, io.EOF) || !yield(h, err) || err != nil {
				return
			}
		}
	}
}

// lockstep compares the headers of two archives, both in order.
func (r *replay) lockstep(got, want iter.Seq2[*tar.Header, error]) error {
	nextGot, stopGot := iter.Pull2(got)
	defer stopGot()
	nextWant, stopWant := iter.Pull2(want)
	defer stopWant()
	a, errA, okA := nextGot()
	b, errB, okB := nextWant()
	for okA && okB {
		if err := errors.Join(errA, errB); err != nil {
			return err
		}
		pathA, pathB := "/"+strings.TrimSuffix(a.Name, "/"), "/"+strings.TrimSuffix(b.Name, "/")
		order := diff.ComparePaths(pathA, pathB)
		if order == 0 && a.Typeflag == tar.TypeDir && b.Typeflag == tar.TypeDir && !a.ModTime.Equal(b.ModTime) {
			r.differs(pathB, "mtime")
		}
		if order <= 0 {
			a, errA, okA = nextGot()
		}
		if order >= 0 {
			b, errB, okB = nextWant()
		}
	}
	return errors.Join(errA, errB)
}
