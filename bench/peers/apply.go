package peers

import (
	"context"
	"crypto/sha256"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/pkg/archive"
	mobyarchive "github.com/moby/go-archive"
	umocilayer "github.com/opencontainers/umoci/oci/layer"
	storagearchive "go.podman.io/storage/pkg/archive"

	"github.com/overlaydiff/overlaydiff/bench"
)

// applier writes a layer's tree.
type applier struct {
	name  string
	apply map[format]func(ctx context.Context, r io.Reader, dir string) error
	// digests: it computes the digest of what it reads.
	digests bool
}

// Applies are the tasks about reading layers, into an empty directory: as a
// plain tree, the same with the digest of the layer, and as the directory of an
// overlay with whiteouts, as the runtimes do. They work without the chroot that
// some of them put around it.
func Applies() (tasks []bench.Task) {
	for _, task := range []struct {
		name   string
		as     format
		digest bool
	}{{"Apply", asPlain, false}, {"ApplyDigest", asPlain, true}, {"ApplyOverlay", asOverlay, false}} {
		t := bench.Task{Name: task.name, Compare: compareApplied, Skip: bench.Layer().Skip}
		for _, a := range append(ourAppliers(task.digest), appliers...) {
			t.Subjects = append(t.Subjects, bench.Subject{Name: a.name, Run: a.run(task.as, task.digest), Clean: removeApplied})
		}
		tasks = append(tasks, t)
	}
	return tasks
}

var appliers = []applier{
	{name: "moby.UnpackLayer", apply: map[format]func(context.Context, io.Reader, string) error{
		asPlain: func(_ context.Context, r io.Reader, dir string) error {
			_, err := mobyarchive.UnpackLayer(dir, r, &mobyarchive.TarOptions{})
			return err
		},
		asOverlay: func(_ context.Context, r io.Reader, dir string) error {
			return mobyarchive.UntarUncompressed(r, dir, &mobyarchive.TarOptions{WhiteoutFormat: mobyarchive.OverlayWhiteoutFormat})
		},
	}},
	{name: "containerd.Apply", apply: map[format]func(context.Context, io.Reader, string) error{
		asPlain: func(ctx context.Context, r io.Reader, dir string) error {
			_, err := archive.Apply(ctx, dir, r)
			return err
		},
		asOverlay: func(ctx context.Context, r io.Reader, dir string) error {
			_, err := archive.Apply(ctx, dir, r, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout))
			return err
		},
	}},
	{name: "storage.UnpackLayer", apply: map[format]func(context.Context, io.Reader, string) error{
		asPlain: func(_ context.Context, r io.Reader, dir string) error {
			_, err := storagearchive.UnpackLayer(dir, r, &storagearchive.TarOptions{})
			return err
		},
		asOverlay: func(_ context.Context, r io.Reader, dir string) error {
			return storagearchive.UntarUncompressed(r, dir, &storagearchive.TarOptions{WhiteoutFormat: storagearchive.OverlayWhiteoutFormat})
		},
	}},
	{name: "umoci.UnpackLayer", apply: map[format]func(context.Context, io.Reader, string) error{
		asPlain: func(_ context.Context, r io.Reader, dir string) error {
			return umocilayer.UnpackLayer(dir, r, nil)
		},
		asOverlay: func(_ context.Context, r io.Reader, dir string) error {
			return umocilayer.UnpackLayer(dir, r, &umocilayer.UnpackOptions{OnDiskFormat: umocilayer.OverlayfsRootfs{}})
		},
	}},
}

// run applies the layer of a scene to an empty directory. With a visit, it is
// over the old view, and the paths that are then wrong are visited.
func (a applier) run(as format, digest bool) func(context.Context, *bench.Scene, bench.Visit) (bench.Answer, error) {
	return func(ctx context.Context, s *bench.Scene, visit bench.Visit) (bench.Answer, error) {
		name, err := keepLayer(ctx, s)
		if err != nil {
			return bench.Answer{}, err
		}
		f, err := os.Open(name)
		if err != nil {
			return bench.Answer{}, err
		}
		defer f.Close()
		apply := func(dir string) error {
			if !digest || a.digests {
				return a.apply[as](ctx, f, dir)
			}
			layer := io.TeeReader(f, sha256.New()) // as containerd has it
			err := a.apply[as](ctx, layer, dir)
			if err == nil {
				_, err = io.Copy(io.Discard, layer)
			}
			return err
		}
		if visit == nil {
			dir := applied(s)
			err := os.Mkdir(dir, 0o755)
			if err == nil {
				err = apply(dir)
			}
			return bench.Answer{}, err
		}
		paths, err := replay(ctx, s, as, apply)
		for _, path := range paths {
			visit('R', path)
		}
		return bench.Answer{}, err
	}
}

// applied is the directory that layers are applied to while time is taken.
func applied(s *bench.Scene) string { return filepath.Join(s.Scratch, "applied") }

func removeApplied(s *bench.Scene) error { return os.RemoveAll(applied(s)) }

// compareApplied needs no answer to compare with: whatever was visited is wrong.
func compareApplied(_, theirs bench.Findings) bench.Verdict {
	return bench.Verdict{Err: theirs.Err, Mistaken: slices.Collect(maps.Keys(theirs.Paths))}
}
