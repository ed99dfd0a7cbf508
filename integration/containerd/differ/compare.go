//go:build linux

package differ

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/epoch"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/layer"
)

const (
	// leaseFor is how long a layer stays that no caller's lease protects: until then
	// it must be part of an image.
	leaseFor = time.Hour
	// cleanupFor bounds what is done after a failure or the caller's end.
	cleanupFor = 10 * time.Second
	// chunk is how much is sent to the content store at once.
	chunk = 1 << 20
)

// Compare writes what upper changes of lower to the content store, as a layer of
// the media type that is asked for (OCI's: tar, gzip or zstd; by default gzip), and
// returns its descriptor. The content has the label of its DiffID. After an error
// nothing is left of it in the store.
func (d *Differ) Compare(ctx context.Context, lower, upper []mount.Mount, opts ...diff.Opt) (ocispec.Descriptor, error) {
	config, as, err := configOf(ctx, opts)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	od, err := open(ctx, lower, upper)
	if err != nil {
		return ocispec.Descriptor{}, declineUnsupported(err)
	}
	desc, err := d.write(ctx, od, config, as)
	return desc, declineUnsupported(errors.Join(err, od.Close())) // nothing is left: another may do it
}

// configOf returns the options, with an upload reference, and the compression that
// their media type means.
func configOf(ctx context.Context, opts []diff.Opt) (diff.Config, layer.Compression, error) {
	var c diff.Config
	for _, opt := range opts {
		if err := opt(&c); err != nil {
			return c, "", err
		}
	}
	if c.Compressor != nil {
		return c, "", decline("compress a layer in the caller's way")
	}
	if c.SourceDateEpoch == nil {
		c.SourceDateEpoch = epoch.FromContext(ctx)
	}
	if c.Reference == "" {
		c.Reference = NewReference()
	}
	switch c.MediaType {
	case ocispec.MediaTypeImageLayer:
		return c, layer.None, nil
	case ocispec.MediaTypeImageLayerGzip, "":
		return c, layer.Gzip, nil
	case ocispec.MediaTypeImageLayerZstd:
		return c, layer.Zstd, nil
	}
	return c, "", decline("make a layer of media type %s", c.MediaType)
}

// NewReference returns a new upload reference.
func NewReference() string { return "overlaydiff-" + rand.Text() }

// write exports od to the content store.
func (d *Differ) write(ctx context.Context, od *overlaydiff.Diff, config diff.Config, as layer.Compression) (desc ocispec.Descriptor, err error) {
	ctx, lease, err := d.lease(ctx)
	if err != nil {
		return desc, fmt.Errorf("make a lease for the layer: %w", err)
	}
	defer func() {
		if err != nil && lease != nil {
			err = errors.Join(err, cleanup(ctx, func(ctx context.Context) error { return d.leases.Delete(ctx, *lease) }))
		}
	}()
	exported, err := d.upload(ctx, od, config, as)
	if errdefs.IsAlreadyExists(err) {
		err = d.adopt(ctx, exported, lease)
	}
	if err != nil {
		return desc, err
	}
	if d.opts.OnCompare != nil {
		d.opts.OnCompare(Compared{Engine: od.Engine(), Reason: od.Reason(), Exported: exported, Raced: od.Raced()})
	}
	return ocispec.Descriptor{MediaType: as.MediaType(), Size: exported.Descriptor.Size, Digest: exported.Descriptor.Digest}, nil
}

// upload writes the layer and commits it, which is an errdefs.ErrAlreadyExists if
// its content is there already.
func (d *Differ) upload(ctx context.Context, od *overlaydiff.Diff, config diff.Config, as layer.Compression) (done layer.Exported, err error) {
	w, err := d.store.Writer(ctx, content.WithRef(config.Reference), content.WithDescriptor(ocispec.Descriptor{MediaType: as.MediaType()}))
	if err != nil {
		return done, fmt.Errorf("open an upload to the content store: %w", err)
	}
	defer func() {
		if closing := w.Close(); err == nil {
			err = closing
		}
		if err != nil && !errdefs.IsAlreadyExists(err) {
			err = errors.Join(err, cleanup(ctx, func(ctx context.Context) error { return d.store.Abort(ctx, config.Reference) }))
		}
	}()
	if err := w.Truncate(0); err != nil { // a reference may have been used before
		return done, fmt.Errorf("begin the upload anew: %w", err)
	}
	o := layer.ExportOptions{Compression: as, Xattrs: d.opts.Xattrs}
	if config.SourceDateEpoch != nil {
		o.Latest = *config.SourceDateEpoch
	}
	buffered := bufio.NewWriterSize(w, chunk)
	done, err = od.Export(ctx, buffered, o)
	if err == nil {
		err = buffered.Flush()
	}
	var reserved *layer.ReservedError
	var unmapped *layer.UnmappedError
	if errors.As(err, &reserved) || errors.As(err, &unmapped) {
		err = fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return done, err
	}
	with := maps.Clone(config.Labels)
	if with == nil {
		with = map[string]string{}
	}
	with[labels.LabelUncompressed] = done.DiffID.String()
	if err := w.Commit(ctx, done.Descriptor.Size, done.Descriptor.Digest, content.WithLabels(with)); err != nil {
		return done, fmt.Errorf("commit the layer: %w", err)
	}
	return done, nil
}

// adopt gives content that was there before the label of its DiffID, and puts it
// under the lease.
func (d *Differ) adopt(ctx context.Context, done layer.Exported, lease *leases.Lease) error {
	dgst := done.Descriptor.Digest
	if lease != nil {
		err := d.leases.AddResource(ctx, *lease, leases.Resource{ID: dgst.String(), Type: "content"})
		if err != nil && !errdefs.IsAlreadyExists(err) {
			return fmt.Errorf("protect the layer %s: %w", dgst, err)
		}
	}
	info, err := d.store.Info(ctx, dgst)
	if err != nil {
		return fmt.Errorf("look up the layer %s: %w", dgst, err)
	}
	if info.Labels[labels.LabelUncompressed] == done.DiffID.String() {
		return nil
	}
	changed := content.Info{Digest: dgst, Labels: map[string]string{labels.LabelUncompressed: done.DiffID.String()}}
	if _, err := d.store.Update(ctx, changed, "labels."+labels.LabelUncompressed); err != nil {
		return fmt.Errorf("label the layer %s: %w", dgst, err)
	}
	return nil
}

// lease returns a context with a lease: the caller's, or a new one. containerd does
// not hand on the lease of a client to a proxy plugin.
func (d *Differ) lease(ctx context.Context) (context.Context, *leases.Lease, error) {
	if _, ok := leases.FromContext(ctx); ok || d.leases == nil {
		return ctx, nil, nil
	}
	l, err := d.leases.Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseFor))
	if err != nil {
		return ctx, nil, err
	}
	return leases.WithLease(ctx, l.ID), &l, nil
}

// cleanup takes back something after a failure, be it that the caller is gone.
func cleanup(ctx context.Context, undo func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupFor)
	defer cancel()
	if err := undo(ctx); !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}
