package differ

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/overlaydiff/overlaydiff"
	odiff "github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// cannot says that a case is none for this check.
func cannot(format string, args ...any) error {
	return &odiff.UnsupportedError{Op: "check", Reason: fmt.Sprintf(format, args...)}
}

// random compares random overlays and counts.
type random struct {
	store content.Store
	did   map[string]int
}

// TestRandom has random overlays compared: the layer, replayed, must give the new
// view; unpacked into a snapshot of the same parent it must give it, too.
func TestRandom(t *testing.T) {
	store, _ := newStore(t)
	r := &random{store: store, did: map[string]int{}}
	difftest.RunRandom(t, difftest.RandomOptions{Cases: 40, Checks: map[string]difftest.Check{
		"active": r.active, "committed": r.committed, "apply": r.apply,
	}}, nil)
	for _, name := range []string{"active", "committed", "apply"} {
		t.Logf("%s: %d cases", name, r.did[name])
		if r.did[name] == 0 {
			t.Errorf("%s: no case was checked", name)
		}
	}
}

// compare returns the layer of two mounts, if it says everything.
func (r *random) compare(ctx context.Context, lower, upper []mount.Mount, mediaType string) (ocispec.Descriptor, []byte, error) {
	var whole bool
	d := New(r.store, nil, Options{OnCompare: func(c Compared) { whole = c.Exported.Inexpressible == 0 }})
	desc, err := d.Compare(ctx, lower, upper, diff.WithMediaType(mediaType))
	switch {
	case errdefs.IsNotImplemented(err), errdefs.IsFailedPrecondition(err): // a name that begins with .wh.
		return desc, nil, cannot("%v", err)
	case err != nil:
		return desc, nil, err
	case !whole:
		return desc, nil, cannot("a layer can't say it")
	}
	_, tar, err := blob(ctx, r.store, desc)
	return desc, tar, err
}

func replay(ctx context.Context) func(in io.Reader, dir string) error {
	return func(in io.Reader, dir string) error {
		_, err := layer.Apply(ctx, in, dir, layer.ApplyOptions{KeepMarks: true})
		return err
	}
}

func (r *random) active(tb testing.TB, v difftest.View) error {
	ctx := inNamespace(tb.Context())
	_, tar, err := r.compare(ctx, below(v.Stack), mounts(v.Stack), ocispec.MediaTypeImageLayer)
	if err != nil {
		return err
	}
	r.did["active"]++
	return v.Replay(ctx, difftest.Layer{Archive: tar}, replay(ctx))
}

// committed compares the topmost lower layer, as that of a committed snapshot, with
// what is below it.
func (r *random) committed(tb testing.TB, v difftest.View) error {
	if len(v.Stack.Lower) < 2 || len(v.Stack.Data) > 0 {
		return cannot("there is no layer below the topmost")
	}
	ctx := inNamespace(tb.Context())
	whole := v.Stack
	whole.Upper, whole.Work = "", ""
	parent := whole
	parent.Lower = whole.Lower[1:]
	_, tar, err := r.compare(ctx, mounts(parent), mounts(whole), ocispec.MediaTypeImageLayerGzip)
	if err != nil {
		return err
	}
	v.New, v.Stack = v.Old, whole
	o := mountOptions(parent)
	o.Lower = nil
	// An empty layer, since an overlay needs two: bound, a layer would show what marks
	// something in an overlay.
	v.Old = testenv.Mount(tb, testenv.Overlay{Lower: append(parent.Lower[:len(parent.Lower):len(parent.Lower)], tb.TempDir()), Options: o.String()})
	defer testenv.Unmount(tb, v.Old)
	r.did["committed"]++
	return v.Replay(ctx, difftest.Layer{Archive: tar}, replay(ctx))
}

func (r *random) apply(tb testing.TB, v difftest.View) error {
	ctx := inNamespace(tb.Context())
	desc, _, err := r.compare(ctx, below(v.Stack), mounts(v.Stack), ocispec.MediaTypeImageLayerZstd)
	if err != nil {
		return err
	}
	fresh, dir := v.Stack, ""
	if dir, err = os.MkdirTemp(v.Dir, "fresh"); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fresh.Upper, fresh.Work = filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	if err := errors.Join(os.Mkdir(fresh.Upper, 0o755), os.Mkdir(fresh.Work, 0o755)); err != nil {
		return err
	}
	if _, err := New(r.store, nil, Options{}).Apply(ctx, desc, mounts(fresh)); err != nil {
		return err
	}
	o := mountOptions(fresh)
	o.Lower, o.Data, o.Upper, o.Work = nil, nil, "", ""
	merged := testenv.Mount(tb, testenv.Overlay{Lower: fresh.Lower, Data: fresh.Data, Upper: fresh.Upper, Work: fresh.Work, Options: o.String()})
	defer testenv.Unmount(tb, merged)
	r.did["apply"]++
	return same(ctx, v.New, merged)
}

// same compares two trees.
func same(ctx context.Context, want, got string) error {
	d, err := overlaydiff.OpenTrees(ctx, want, got, overlaydiff.Options{})
	if err != nil {
		return err
	}
	defer d.Close()
	for c, err := range d.Changes(ctx) {
		if err != nil {
			return err
		}
		return fmt.Errorf("the trees differ: %c %s (%s)", c.Kind.Letter(), c.Path, c.What)
	}
	return nil
}
