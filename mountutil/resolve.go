//go:build linux

package mountutil

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
)

// resolve makes a stack of the mount's options: its paths are absolute and
// lead to directories, of which the topmost was checked to be the one mounted.
func (t target) resolve(ctx context.Context) (diff.Stack, error) {
	p, err := parse(t.info.Options, true)
	if err != nil {
		return diff.Stack{}, fmt.Errorf("read the options of the overlay at %s: %w", t.name, err)
	}
	s := p.Stack(KernelDefaults())
	s.Mountpoint = t.path
	if len(s.Lower) == 0 {
		return diff.Stack{}, fmt.Errorf("read the options of the overlay at %s: no lower layer is listed: name the layers yourself", t.name)
	}
	if err := t.rejectDescriptors(s); err != nil {
		return diff.Stack{}, err
	}
	found, err := t.resolveFrom(ctx, s, p)
	if err != nil && t.inside != "" {
		if inside, e := t.resolveFrom(ctx, t.lookInside(s), t.literally(p)); e == nil {
			return inside, nil
		}
	}
	return found, err
}

// lookInside has the absolute paths of a stack as the namespace of the process
// sees them.
func (t target) lookInside(s diff.Stack) diff.Stack {
	inside := func(paths []string) []string {
		paths = slices.Clone(paths)
		for i := range paths {
			paths[i] = t.insideOf(paths[i])
		}
		return paths
	}
	s.Lower, s.Data = inside(s.Lower), inside(s.Data)
	s.Upper, s.Work = t.insideOf(s.Upper), t.insideOf(s.Work)
	return s
}

func (t target) literally(p parser) parser {
	p.literalUpper, p.literalWork = t.insideOf(p.literalUpper), t.insideOf(p.literalWork)
	return p
}

func (t target) insideOf(path string) string {
	if !filepath.IsAbs(path) {
		return path
	}
	return t.inside + path
}

// resolveFrom tries the directories from which relative paths may lead on.
func (t target) resolveFrom(ctx context.Context, s diff.Stack, p parser) (diff.Stack, error) {
	bases, err := t.bases(ctx, s, p.literalUpper)
	if err != nil {
		return diff.Stack{}, err
	}
	var found diff.Stack
	for i, base := range bases {
		var e error
		if found, e = t.resolveUnder(ctx, base, s, p); e == nil {
			return found, nil
		}
		if i == 0 {
			err = e
		}
	}
	return diff.Stack{}, err
}

// resolveUnder resolves relative paths from base.
func (t target) resolveUnder(ctx context.Context, base string, s diff.Stack, p parser) (_ diff.Stack, err error) {
	s.Lower, s.Data = under(base, s.Lower), under(base, s.Data)
	upper := candidates(base, s.Upper, p.literalUpper)
	if work := candidates(base, s.Work, p.literalWork); work != nil {
		s.Work = cmp.Or(firstDir(work), work[0]) // not read by all, so not an error here
	}
	lower := slices.Concat(s.Lower, s.Data)
	stats := make([]stat, len(lower))
	for i, path := range lower {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		if stats[i], err = t.layer(path); err != nil {
			return s, err
		}
	}
	if s.Upper == "" {
		_, err = t.identify(lower[:1], stats)
	} else {
		s.Upper, err = t.identify(upper, stats)
	}
	return s, err
}

// rejectDescriptors returns an error if a layer's name means something in the
// process that mounted it only.
func (t target) rejectDescriptors(s diff.Stack) error {
	for _, path := range slices.Concat(s.Lower, s.Data, []string{s.Upper}) {
		for _, prefix := range []string{"/proc/self/", "/proc/thread-self/", "/dev/fd/"} {
			if strings.HasPrefix(path, prefix) {
				return fmt.Errorf("find the layers of %s: %s was a descriptor of the process that mounted it: name the layers yourself", t.name, path)
			}
		}
	}
	return nil
}

// bases returns from which directories the relative paths among the layers
// may lead to those mounted: all exist there. It is [""] if none is relative.
// Container engines change into the directory of all layers to get a long list
// into one page of options: containerd, whose upper directory is below it, and
// Docker and Podman, whose mount points are and which give no absolute path.
func (t target) bases(ctx context.Context, s diff.Stack, literalUpper string) ([]string, error) {
	var relative []string
	for _, path := range slices.Concat(s.Lower, s.Data) {
		if !filepath.IsAbs(path) {
			relative = append(relative, path)
		}
	}
	if s.Upper != "" && !filepath.IsAbs(s.Upper) {
		relative = append(relative, s.Upper)
	}
	if len(relative) == 0 {
		return []string{""}, nil
	}
	exist := func(dir string) bool {
		return !slices.ContainsFunc(relative, func(path string) bool {
			names := []string{path}
			if path == s.Upper {
				names = append(names, literalUpper)
			}
			return firstDir(under(dir, names)) == ""
		})
	}
	var bases []string
	tried := map[string]bool{}
	for _, path := range slices.Concat([]string{s.Upper, s.Work}, s.Lower, t.mountpoints()) {
		if !filepath.IsAbs(path) {
			continue
		}
		for dir := filepath.Dir(path); !tried[dir]; dir = filepath.Dir(dir) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			tried[dir] = true
			if exist(dir) {
				bases = append(bases, dir)
			}
		}
	}
	if bases == nil {
		return nil, fmt.Errorf("find the layers of %s: relative paths such as %s are in no directory above the upper directory or the mount point: %w; name the layers yourself, with absolute paths",
			t.name, diff.QuotePath(relative[0]), fs.ErrNotExist)
	}
	return bases, nil
}

// under returns the paths, the relative ones joined to base.
func under(base string, paths []string) []string {
	abs := slices.Clone(paths)
	for i, path := range abs {
		if !filepath.IsAbs(path) {
			abs[i] = diff.Join(base, path) // not cleaned: ".." may follow a symlink
		}
	}
	return abs
}

// candidates returns what a directory's name in the table can mean: the kernel
// shows a path given as a string with its backslashes, one given as a
// descriptor (Linux 6.13) without any.
func candidates(base, path, literal string) []string {
	if path == "" {
		return nil
	}
	return slices.Compact(under(base, []string{path, literal}))
}

func firstDir(paths []string) string {
	for _, path := range paths {
		if s, err := statPath(path); err == nil && s.isDir() {
			return path
		}
	}
	return ""
}

// layer stats a layer directory.
func (t target) layer(path string) (stat, error) {
	s, err := statPath(path)
	if err == nil && t.inside != "" && strings.HasPrefix(path, t.inside) {
		// A link there would lead on from the root of this process.
		err = noSymlinks(t.inside, strings.TrimPrefix(path, t.inside))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = pathError("find the layer", path, err, "it is gone: removed under the overlay at "+t.name+", or in another mount namespace only; run this there, or diff two copies")
	case err != nil:
		err = pathError("stat", path, err, "run as root, or mend the file system that holds this layer")
	case !s.isDir():
		err = pathError("find the layer", path, unix.ENOTDIR, "the directory mounted at "+t.name+" is gone: name the layers yourself")
	}
	return s, err
}

// identify returns which of the paths leads to the topmost layer directory of
// the overlay; lower are the layers below it.
func (t target) identify(paths []string, lower []stat) (string, error) {
	var first error
	for _, path := range paths {
		same, err := t.isTop(path, lower)
		if same {
			return path, nil
		}
		if err == nil {
			err = fmt.Errorf("find the layers of %s: %s is not the directory that is mounted: it was renamed or replaced, or is another one in this mount namespace; name the layers yourself",
				t.name, diff.QuotePath(path))
		}
		if first == nil || errors.Is(first, fs.ErrNotExist) {
			first = err
		}
	}
	return "", first
}

// isTop reports whether path is the topmost layer directory, as far as can be
// told. Overlayfs passes birth and change time of its root through from the
// inode of that directory, and, if all layers are on one file system, the inode
// number (root excepted, an origin could change it before Linux 5.8).
func (t target) isTop(path string, lower []stat) (bool, error) {
	var layer, root stat
	stable := false
	for range 10 { // someone may be writing there
		var err error
		if layer, err = t.layer(path); err != nil {
			return false, err
		}
		if root, err = statPath(t.path); err != nil {
			return false, pathError("stat", t.path, err, "it vanished meanwhile: try again")
		}
		again, err := t.layer(path)
		if err != nil {
			return false, err
		}
		if stable = again.Ctime == layer.Ctime; stable {
			break
		}
	}
	sameFS := !slices.ContainsFunc(lower, func(s stat) bool { return s.dev() != layer.dev() })
	hasInos := layer.Mask&unix.STATX_MNT_ID != 0 // Linux 5.8
	hasBirth := layer.Mask&root.Mask&unix.STATX_BTIME != 0
	switch {
	case hasBirth && layer.Btime != root.Btime,
		stable && layer.Ctime != root.Ctime,
		sameFS && hasInos && layer.Ino != root.Ino:
		return false, nil
	}
	return true, nil
}
