package graph

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
)

// Layers is what a driver knows of its layers.
type Layers interface {
	// Stack describes the overlay that a layer is mounted as. A layer that is on
	// nothing has no Lower.
	Stack(id string) (diff.Stack, error)
	// Mount returns a directory that shows a layer until unmount is called.
	Mount(id string) (dir string, unmount func() error, err error)
}

// Diff is an open diff between two layers.
type Diff struct {
	*overlaydiff.Diff
	needs  []func() error // to be called when it is closed, last first
	closed bool
}

// Open opens the diff from the layer parent, "" for nothing, to the layer id. If id is
// on parent the layer directories are read; else, or where that is not supported, both
// layers are mounted and compared.
func Open(ctx context.Context, l Layers, id, parent string, opts overlaydiff.Options) (*Diff, error) {
	stack, err := l.Stack(id)
	if err != nil {
		return nil, err
	}
	on, err := IsOn(l, stack, parent)
	if err != nil {
		return nil, err
	}
	d := &Diff{}
	if on {
		err = d.openLayers(ctx, stack, opts)
	}
	if !on || errors.Is(err, diff.ErrUnsupported) {
		err = d.openMounted(ctx, l, id, parent, opts)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// IsOn reports whether the layer that stack describes is on parent, directly.
func IsOn(l Layers, stack diff.Stack, parent string) (bool, error) {
	if parent == "" {
		return len(stack.Lower) == 0, nil
	}
	below, err := l.Stack(parent)
	return err == nil && len(stack.Lower) > 0 && below.Upper == stack.Lower[0], err
}

func (d *Diff) openLayers(ctx context.Context, stack diff.Stack, opts overlaydiff.Options) (err error) {
	if len(stack.Lower) == 0 {
		nothing, err := d.empty()
		if err != nil {
			return err
		}
		stack.Lower = []string{nothing}
	}
	d.Diff, err = overlaydiff.Open(ctx, stack, opts)
	return err
}

func (d *Diff) openMounted(ctx context.Context, l Layers, id, parent string, opts overlaydiff.Options) error {
	old, err := "", error(nil)
	if parent == "" {
		old, err = d.empty()
	} else {
		old, err = d.mount(l, parent)
	}
	if err != nil {
		return err
	}
	view, err := d.mount(l, id)
	if err != nil {
		return err
	}
	d.Diff, err = overlaydiff.OpenTrees(ctx, old, view, opts)
	return err
}

// empty returns an empty directory that is there until d is closed.
func (d *Diff) empty() (string, error) {
	dir, err := os.MkdirTemp("", "overlaydiff-empty-")
	if err == nil {
		d.needs = append(d.needs, func() error { return os.Remove(dir) })
	}
	return dir, err
}

func (d *Diff) mount(l Layers, id string) (string, error) {
	dir, unmount, err := l.Mount(id)
	if err == nil {
		d.needs = append(d.needs, unmount)
	}
	return dir, err
}

// Close closes the diff and frees what it needed. Calls after the first do nothing.
func (d *Diff) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	var err error
	if d.Diff != nil {
		err = d.Diff.Close()
	}
	for _, free := range slices.Backward(d.needs) {
		err = errors.Join(err, free())
	}
	return err
}

// Layer is [overlaydiff.Diff.Layer] whose Close closes the diff, too.
func (d *Diff) Layer(ctx context.Context, opts layer.ExportOptions) io.ReadCloser {
	return &stream{d.Diff.Layer(ctx, opts), d}
}

type stream struct {
	io.ReadCloser
	of *Diff
}

func (s *stream) Close() error { return errors.Join(s.ReadCloser.Close(), s.of.Close()) }

// Apply unpacks an archive of the changes from what a layer is on to the layer, into its
// upper directory, and returns how many bytes the files there have. Of opts, the form
// and whose marks they are is for stack to say.
func Apply(ctx context.Context, stack diff.Stack, r io.Reader, opts layer.ApplyOptions) (int64, error) {
	opts.Form, opts.UserXattr = layer.Overlay, stack.Features.UserXattr
	if _, err := layer.Apply(ctx, r, stack.Upper, opts); err != nil {
		return 0, err
	}
	usage, err := overlaydiff.Usage(ctx, stack, overlaydiff.Options{})
	return usage.Bytes, err
}

// ApplyMounted unpacks an archive of the changes from whatever layer to the layer id, into
// what id shows when it is mounted, and returns how many bytes the archive's files have.
func ApplyMounted(ctx context.Context, l Layers, id string, r io.Reader, opts layer.ApplyOptions) (size int64, err error) {
	dir, unmount, err := l.Mount(id)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	opts.Form = layer.Plain
	done, err := layer.Apply(ctx, r, dir, opts)
	return done.Bytes, err
}
