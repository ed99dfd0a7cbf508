//go:build linux

package differ

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// Apply unpacks a layer of the content store into a snapshot that is being made,
// and returns the descriptor of the tar in it.
func (d *Differ) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	var config diff.ApplyConfig
	for _, opt := range opts {
		if err := opt(ctx, desc, &config); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	if !readable(desc.MediaType) {
		return ocispec.Descriptor{}, decline("read a layer of media type %s", desc.MediaType)
	}
	into, err := targetOf(mounts)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	ra, err := d.store.ReaderAt(ctx, desc)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("read the layer %s: %w", desc.Digest, err)
	}
	defer ra.Close()
	tar, err := compression.DecompressStream(bufio.NewReaderSize(content.NewReader(ra), chunk))
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("read the layer %s: %w", desc.Digest, err)
	}
	defer tar.Close()
	var size counter
	digester := digest.SHA256.Digester()
	err = into(ctx, io.TeeReader(tar, io.MultiWriter(digester.Hash(), &size)), config.SyncFs)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("apply the layer %s: %w", desc.Digest, err)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Size: int64(size), Digest: digester.Digest()}, nil
}

// readable reports whether a layer of that media type is a tar archive, plain or
// compressed, and nothing else: what is wrapped once more, "+encrypted" say, is for
// those who have a stream processor for it.
func readable(mediaType string) bool {
	switch mediaType {
	case ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
		images.MediaTypeDockerSchema2Layer, images.MediaTypeDockerSchema2LayerGzip, images.MediaTypeDockerSchema2LayerZstd,
		images.MediaTypeDockerSchema2LayerForeign, images.MediaTypeDockerSchema2LayerForeignGzip:
		return true
	}
	return false
}

// target unpacks a tar archive.
type target func(ctx context.Context, tar io.Reader, sync bool) error

// targetOf returns what unpacks into the mounts, which it declines if it can't.
func targetOf(mounts []mount.Mount) (target, error) {
	if dir, err := boundDir(mounts); err == nil {
		for _, o := range mounts[0].Options {
			if o == "ro" {
				return nil, decline("apply a layer to %s: it is read-only", dir)
			}
		}
		return func(ctx context.Context, tar io.Reader, sync bool) error { return unpack(ctx, tar, dir, sync) }, nil
	}
	o, err := writable(mounts)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, tar io.Reader, sync bool) error { return unpackMounted(ctx, tar, o, sync) }, nil
}

// unpackMounted unpacks into an overlay that is mounted meanwhile, where nobody
// sees it and a kill ends it.
func unpackMounted(ctx context.Context, tar io.Reader, o mountutil.Options, sync bool) (err error) {
	namespace := mounting.InOwnNamespace("mount the snapshot", func() error {
		var m *mountutil.Mounted
		if m, err = mountutil.Mount(ctx, o); err != nil {
			err = declineUnsupported(err)
			return nil
		}
		err = errors.Join(unpack(ctx, tar, m.Path(), sync), m.Close())
		return nil
	})
	if namespace != nil {
		return declineUnsupported(namespace)
	}
	return err
}

// unpack unpacks into a directory.
func unpack(ctx context.Context, tar io.Reader, path string, sync bool) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, err := layer.ApplyAt(ctx, tar, int(dir.Fd()), path, layer.ApplyOptions{NoDigests: true}); err != nil {
		return err
	}
	if !sync {
		return nil
	}
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: path, Err: err}
	}
	return nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
