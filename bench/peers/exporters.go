package peers

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os/exec"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/continuity/fs"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/moby/buildkit/util/overlay"
	mobyarchive "github.com/moby/go-archive"
	"github.com/moby/go-archive/compression"
	"github.com/moby/sys/user"
	umocilayer "github.com/opencontainers/umoci/oci/layer"
	storagearchive "go.podman.io/storage/pkg/archive"

	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/layer"
)

// exporters are the peers'. The gzip of moby, containerd and buildkit is the
// standard library's; the libraries around Podman's storage, and umoci, compress
// on all processors.
var exporters = []exporter{
	{name: "moby.ExportChanges", write: mobyExport},
	{name: "moby.TarWithOptions", write: mobyTar},
	{name: "containerd.WriteDiff", write: containerdDiff},
	{name: "containerd.DiffDirChanges", write: containerdDiffDir},
	{name: "buildkit.WriteUpperdir", write: buildkitLayer},
	{name: "storage.TarWithOptions", write: storageTar, gzip: parallelGzip},
	{name: "umoci.GenerateInsertLayer", write: umociLayer, gzip: parallelGzip},
	{name: "gnu.tar", write: gnuTar},
}

// encodings are the tasks. All levels are the compressors' defaults, which are
// the same for all: 6 of gzip, 3 of zstd.
var encodings = []encoding{
	{task: "Layer"},
	{task: "LayerDigest", digest: true},
	{
		task: "LayerGzip", ours: layer.Gzip,
		compress:   func(e exporter) compressor { return either(e.gzip, standardGzip) },
		decompress: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	},
	{
		task: "LayerZstd", ours: layer.Zstd,
		compress:   func(e exporter) compressor { return either(e.zstd, klauspostZstd) },
		decompress: func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
	},
}

func either(c, common compressor) compressor {
	if c != nil {
		return c
	}
	return common
}

func standardGzip(w io.Writer) (io.WriteCloser, error)  { return gzip.NewWriter(w), nil }
func parallelGzip(w io.Writer) (io.WriteCloser, error)  { return pgzip.NewWriter(w), nil }
func klauspostZstd(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }

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

// umociLayer is what umoci has for an upper directory. Its command compares a
// tree with the manifest that it wrote when it unpacked it, instead.
func umociLayer(_ context.Context, s *bench.Scene, w io.Writer) error {
	r := umocilayer.GenerateInsertLayer(s.Stack.Upper, "/", false, &umocilayer.RepackOptions{
		OnDiskFormat: umocilayer.OverlayfsRootfs{UserXattr: s.Stack.Features.UserXattr},
	})
	return copyFrom(w, r, nil)
}

// gnuTar is a yardstick: it knows nothing of whiteouts, and so is wrong wherever
// something was deleted.
func gnuTar(ctx context.Context, s *bench.Scene, w io.Writer) error {
	c := exec.CommandContext(ctx, "tar", "--create", "--directory", s.Stack.Upper, ".")
	c.Stdout = w
	return c.Run()
}
