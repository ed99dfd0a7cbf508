package peers

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/util/overlay"
	mobyarchive "github.com/moby/go-archive"
	"github.com/moby/go-archive/compression"
	"github.com/moby/sys/user"
	storagearchive "go.podman.io/storage/pkg/archive"

	"github.com/overlaydiff/overlaydiff/bench"
)

// Layer adds the peers' to our task. Reading a layer (Untar, Apply) is to come
// with our own.
func Layer() bench.Task {
	t := bench.Layer()
	t.Subjects = append(t.Subjects,
		bench.Subject{Name: "moby.ExportChanges", Run: layer(mobyExport)},
		bench.Subject{Name: "moby.TarWithOptions", Run: layer(mobyTar)},
		bench.Subject{Name: "containerd.WriteDiff", Run: layer(containerdDiff)},
		bench.Subject{Name: "containerd.DiffDirChanges", Run: layer(containerdDiffDir)},
		bench.Subject{Name: "buildkit.WriteUpperdir", Run: layer(buildkitLayer)},
		bench.Subject{Name: "storage.TarWithOptions", Run: layer(storageTar)},
	)
	return t
}

// layer makes a subject of what writes a layer tar. Nobody reads it when time
// is taken.
func layer(write func(ctx context.Context, s *bench.Scene, w io.Writer) error) func(context.Context, *bench.Scene, bench.Visit) (bench.Answer, error) {
	return func(ctx context.Context, s *bench.Scene, visit bench.Visit) (a bench.Answer, err error) {
		if visit == nil {
			n := counter(0)
			err := write(ctx, s, &n)
			return bench.Answer{Bytes: int64(n)}, err
		}
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() {
			err := readLayer(r, s, visit, &a)
			_, copied := io.Copy(io.Discard, r) // what follows the end of the tar
			done <- errors.Join(err, copied)
		}()
		err = write(ctx, s, w)
		_ = w.CloseWithError(err) // a pipe's can't fail
		if rerr := <-done; err == nil {
			err = rerr
		}
		a.Bytes = 0 // of no meaning beside ours
		return a, err
	}
}

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

// readLayer visits what a layer tar changes, and compares its files and links
// with those in the new view. A whiteout of nothing changes nothing.
func readLayer(r io.Reader, s *bench.Scene, visit bench.Visit, a *bench.Answer) error {
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		a.Changes++
		dir, base := path.Split(path.Clean(h.Name))
		name, deleted := strings.CutPrefix(base, ".wh.")
		switch {
		case base == ".wh..wh..opq":
			visit('D', dir+base)
		case strings.HasPrefix(base, ".wh..wh."): // aufs' own
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

func copyFrom(w io.Writer, r io.ReadCloser, err error) error {
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, r.Close())
}

// mobyExport is docker commit where the driver does not trust its native diff.
func mobyExport(_ context.Context, s *bench.Scene, w io.Writer) error {
	list, err := mobyarchive.ChangesDirs(s.Stack.Mountpoint, s.Old)
	if err != nil {
		return err
	}
	r, err := mobyarchive.ExportChanges(s.Stack.Mountpoint, list, user.IdentityMapping{})
	return copyFrom(w, r, err)
}

// mobyTar is docker commit with native diff.
func mobyTar(_ context.Context, s *bench.Scene, w io.Writer) error {
	r, err := mobyarchive.TarWithOptions(s.Stack.Upper, &mobyarchive.TarOptions{
		Compression: compression.None, WhiteoutFormat: mobyarchive.OverlayWhiteoutFormat,
	})
	return copyFrom(w, r, err)
}

// containerdDiff is containerd's walking differ, and so nerdctl commit.
func containerdDiff(ctx context.Context, s *bench.Scene, w io.Writer) error {
	return archive.WriteDiff(ctx, w, s.Old, s.Stack.Mountpoint)
}

// containerdDiffDir is containerd's erofs differ: native, without probes.
func containerdDiffDir(ctx context.Context, s *bench.Scene, w io.Writer) error {
	cw := archive.NewChangeWriter(w, s.Stack.Upper)
	err := fs.DiffDirChanges(ctx, s.Old, s.Stack.Upper, fs.DiffSourceOverlayFS, cw.HandleChange)
	return errors.Join(err, cw.Close())
}

// buildkitLayer is how buildkit makes a layer, if it trusts the mount options.
func buildkitLayer(ctx context.Context, s *bench.Scene, w io.Writer) error {
	lower, upperdir, err := buildkitMounts(s)
	if err != nil {
		return err
	}
	return overlay.WriteUpperdir(ctx, w, upperdir, lower)
}

// storageTar is podman commit with native diff.
func storageTar(_ context.Context, s *bench.Scene, w io.Writer) error {
	r, err := storagearchive.TarWithOptions(s.Stack.Upper, &storagearchive.TarOptions{
		Compression: storagearchive.Uncompressed, WhiteoutFormat: storagearchive.OverlayWhiteoutFormat,
		WhiteoutData: s.Stack.Lower,
	})
	return copyFrom(w, r, err)
}
