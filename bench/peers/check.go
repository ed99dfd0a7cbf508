package peers

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// readLayer visits what a layer tar changes, and compares its files and links
// with those in the new view. A whiteout of nothing changes nothing.
func readLayer(r io.Reader, s *bench.Scene, visit bench.Visit) (a bench.Answer, err error) {
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return a, err
		}
		a.Changes++
		dir, base := path.Split(path.Clean(h.Name))
		name, deleted := strings.CutPrefix(base, ".wh.")
		switch {
		case base == ".wh..wh..opq":
			visit('D', dir+base)
		case strings.HasPrefix(base, ".wh..wh."): // aufs' own
		case isWhiteout(h):
			visit('X', dir+base)
		case deleted:
			if _, err := os.Lstat(path.Join(s.Old, dir+name)); err == nil {
				visit('D', dir+name)
			}
		default:
			letter := byte('P')
			if same, err := sameContent(t, h, path.Join(s.Stack.Mountpoint, dir+base)); err != nil || !same {
				letter = 'X'
			}
			visit(letter, dir+base)
		}
	}
}

// isWhiteout reports whether it is a whiteout of overlayfs itself, which has no
// place in a layer.
func isWhiteout(h *tar.Header) bool {
	return h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0
}

func sameContent(r io.Reader, h *tar.Header, file string) (bool, error) {
	switch h.Typeflag {
	case tar.TypeSymlink:
		target, err := os.Readlink(file)
		return target == h.Linkname, err
	case tar.TypeReg:
	default: // a hard link's content is that of its first name
		return true, nil
	}
	// Never through a link, nor from what is no file: opening it might wait.
	if info, err := os.Lstat(file); err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	want, got := sha256.New(), sha256.New()
	if _, err := io.Copy(want, f); err != nil {
		return false, err
	}
	_, err = io.Copy(got, r)
	return string(want.Sum(nil)) == string(got.Sum(nil)), err
}

// format is how a tree holds what a layer deletes.
type format string

const (
	asPlain   format = "plain"   // it is gone
	asOverlay format = "overlay" // there is a whiteout: an upper directory
)

// replayLayer is [readLayer], and visits what is not as in the new view after
// containerd has applied the layer to the old one.
func replayLayer(ctx context.Context, r io.Reader, s *bench.Scene, visit bench.Visit) (a bench.Answer, err error) {
	named := map[string]bool{}
	copied, w := io.Pipe()
	read := make(chan error, 1)
	go func() {
		var err error
		a, err = readLayer(copied, s, func(letter byte, name string) {
			named[path.Join("/", name)] = true
			visit(letter, name)
		})
		_, rest := io.Copy(io.Discard, copied)
		read <- errors.Join(err, rest)
	}()
	wrong, err := replay(ctx, s, asPlain, func(root string) error {
		layer := io.TeeReader(r, w)
		err := applyAll(ctx, root, layer)
		if err == nil {
			_, err = io.Copy(io.Discard, layer)
		}
		_ = w.CloseWithError(err) // a pipe's can't fail
		return errors.Join(err, <-read)
	})
	for _, name := range wrong {
		letter := byte('R')
		if named[name] {
			letter = 'X'
		}
		visit(letter, name)
	}
	return a, err
}

// applyAll is containerd's Apply, with the trusted.* attributes that it leaves
// out, and without the whiteouts of overlayfs, which no overlay lets be made.
func applyAll(ctx context.Context, root string, layer io.Reader) error {
	const prefix = "SCHILY.xattr."
	trusted := map[string]map[string]string{}
	_, err := archive.Apply(ctx, root, layer, archive.WithFilter(func(h *tar.Header) (bool, error) {
		set := map[string]string{}
		for key, value := range h.PAXRecords {
			if name, ok := strings.CutPrefix(key, prefix); ok && strings.HasPrefix(name, "trusted.") {
				set[name] = value
			}
		}
		trusted[h.Name] = set
		return !isWhiteout(h), nil
	}))
	for name, set := range trusted {
		for key, value := range set {
			err = errors.Join(err, xattr.LSet(filepath.Join(root, name), key, []byte(value)))
		}
	}
	return err
}

// replay applies a layer over the old view, and returns the paths that are then
// not as in the new view by the reference differ. Times are no difference here:
// most peers write whole seconds. Nor are sockets, which no layer can have.
func replay(ctx context.Context, s *bench.Scene, as format, apply func(root string) error) (paths []string, err error) {
	dir, err := os.MkdirTemp(s.Scratch, "replay")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			return nil, err
		}
	}
	if as == asOverlay {
		if err := apply(at("upper")); err != nil {
			return nil, err
		}
	}
	options := "lowerdir=" + escape(s.Old) + ",upperdir=" + at("upper") + ",workdir=" + at("work") + ",redirect_dir=off,metacopy=off,index=off"
	if err := syscall.Mount("replay", at("merged"), "overlay", 0, options); err != nil {
		return nil, &os.PathError{Op: "mount", Path: at("merged"), Err: err}
	}
	defer func() { err = errors.Join(err, syscall.Unmount(at("merged"), 0)) }()
	if as == asPlain {
		if err := apply(at("merged")); err != nil {
			return nil, err
		}
	}
	list, err := refdiff.Diff(at("merged"), s.Stack.Mountpoint)
	if err != nil {
		if _, unreadable := refdiff.Diff(s.Old, s.Stack.Mountpoint); unreadable != nil {
			return nil, nil // nobody knows what is right
		}
	}
	for _, c := range list {
		if c.Type != "socket" && !slices.Equal(c.What, []string{"mtime"}) {
			paths = append(paths, c.Path)
		}
	}
	return paths, errors.Join(err, ctx.Err())
}

// escape is a path as an option of a mount.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path)
}
