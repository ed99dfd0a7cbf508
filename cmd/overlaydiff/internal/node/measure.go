//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
)

// Measured is a container with its sizes.
type Measured struct {
	stores.Container // Err says why there is no size
	// SizeRw is the size of the writable layer in bytes.
	SizeRw int64
	// SizeRootFs is that of the whole, -1 if it is not known: RootFsErr says why.
	SizeRootFs int64
	RootFsErr  error
	Usage      diff.Usage
	// CopyUps are guessed by size and time; CopyUpsErr says why they are not known.
	CopyUps    diff.CopyUps
	CopyUpsErr error
}

// Options of [Measure].
type Options struct {
	Rule Rule
	// CopyUps asks for those, too.
	CopyUps bool
	// Done, if it is set, is called for each container that was measured, one at a
	// time.
	Done func(Measured)
}

// Measure measures containers, as many at a time as there are processors. One
// that was removed meanwhile is left out; what is wrong with another is in its
// errors. The error is that of a cancelled context.
func Measure(ctx context.Context, list []stores.Container, opts Options) ([]Measured, error) {
	m := measurer{Options: opts, layers: map[layer]func() (diff.Usage, error){}}
	next := make(chan stores.Container)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for c := range next {
				m.measure(ctx, c)
			}
		})
	}
	for _, c := range list {
		if ctx.Err() != nil {
			break
		}
		next <- c
	}
	close(next)
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return m.found, nil
}

type measurer struct {
	Options

	mu     sync.Mutex
	found  []Measured
	layers map[layer]func() (diff.Usage, error) // those image layers, measured once
}

// layer names a layer as one user's store does: what another's says it is, is not
// believed.
type layer struct {
	dir string
	uid uint32
}

func (m *measurer) measure(ctx context.Context, c stores.Container) {
	one := Measured{Container: c, SizeRootFs: -1}
	if one.Stack.Upper == "" {
		one.Stack.Upper = c.RW.Dir // its layers are not all known, but this one is
	}
	if one.Stack.Upper != "" {
		var err error
		one.Usage, err = overlaydiff.Usage(ctx, one.Stack, overlaydiff.Options{})
		one.SizeRw = m.Rule.For(c).Rw(one.Usage)
		one.RootFsErr, one.Err = c.Err, err
	}
	if one.Err == nil && one.RootFsErr == nil {
		m.rootFs(ctx, &one)
	}
	if m.CopyUps && one.Err == nil {
		one.CopyUps, one.CopyUpsErr = copyUps(ctx, c)
	}
	if errors.Join(one.Err, one.RootFsErr, one.CopyUpsErr) != nil && one.Stack.Upper != "" && isGone(one.Stack.Upper) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.found = append(m.found, one)
	if m.Done != nil {
		m.Done(one)
	}
}

func isGone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// rootFs adds the layers of the image: what was written down, or else what they
// hold.
func (m *measurer) rootFs(ctx context.Context, one *Measured) {
	rule := m.Rule.For(one.Container)
	layers := one.Layers
	if rule.WithInit && one.Init.Dir != "" {
		layers = append([]stores.Layer{one.Init}, layers...)
	}
	sum, known := stores.Container{Layers: layers, Err: one.Container.Err}.ImageSize()
	if !known || rule.MeasuresLayers {
		sum = 0
		for _, l := range layers {
			n, err := m.layer(ctx, layer{l.Dir, one.Owner.UID}, one.Stack, rule)
			if err != nil {
				one.RootFsErr = fmt.Errorf("measure a layer of the image: %w", err)
				return
			}
			sum = diff.AddBytes(sum, n)
		}
	}
	if !rule.WithoutRw {
		sum = diff.AddBytes(sum, rule.Layer(one.Usage))
	}
	one.SizeRootFs = sum
}

func (m *measurer) layer(ctx context.Context, l layer, of diff.Stack, rule Rule) (int64, error) {
	m.mu.Lock()
	once := m.layers[l]
	if once == nil {
		once = sync.OnceValues(func() (diff.Usage, error) {
			return overlaydiff.Usage(ctx, diff.Stack{Upper: l.dir, Features: of.Features, Opener: of.Opener}, overlaydiff.Options{})
		})
		m.layers[l] = once
	}
	m.mu.Unlock()
	u, err := once()
	return rule.Layer(u), err
}

func copyUps(ctx context.Context, c stores.Container) (diff.CopyUps, error) {
	switch {
	case c.Err != nil:
		return diff.CopyUps{}, c.Err
	case len(c.Stack.Lower) == 0:
		return diff.CopyUps{}, nil
	case c.Fuse:
		return diff.CopyUps{}, &diff.UnsupportedError{Op: "find copy-ups", Reason: "the overlay is fuse-overlayfs's, not the kernel's"}
	}
	d, err := overlaydiff.Open(ctx, c.Stack, overlaydiff.Options{Engine: overlaydiff.Native, Content: diff.ContentNever})
	if err != nil {
		return diff.CopyUps{}, err
	}
	found, err := d.CopyUps(ctx)
	return found, errors.Join(err, d.Close())
}
