package overlaydiff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// exported returns the layer that an engine makes of a case.
func exported(tb testing.TB, v difftest.View, engine Choice, opts layer.ExportOptions) (difftest.Layer, layer.Exported, error) {
	var l difftest.Layer
	d, err := Open(tb.Context(), v.Stack, Options{Engine: engine})
	if err != nil {
		return l, layer.Exported{}, err
	}
	defer d.Close()
	opts.SkipReserved = true
	opts.OnLack = func(lack layer.Lack) { l.Lacks = append(l.Lacks, lack.Path) }
	var b bytes.Buffer
	done, err := d.Export(tb.Context(), &b, opts)
	l.Archive = b.Bytes()
	if err == nil && d.Raced() > 0 {
		err = fmt.Errorf("%d races where nothing runs", d.Raced())
	}
	return l, done, err
}

// applied applies a layer to a plain tree.
func applied(ctx context.Context) func(io.Reader, string) error {
	return func(r io.Reader, dir string) error {
		_, err := layer.Apply(ctx, r, dir, layer.ApplyOptions{KeepMarks: true})
		return err
	}
}

// checkLayerDir makes a layer directory of a layer, and mounts it over the others.
func checkLayerDir(tb testing.TB, v difftest.View, l difftest.Layer) error {
	dir := filepath.Join(v.Dir, "applied")
	defer os.RemoveAll(dir)
	o := layer.ApplyOptions{Form: layer.Overlay, UserXattr: v.Stack.Features.UserXattr}
	if _, err := layer.Apply(tb.Context(), bytes.NewReader(l.Archive), dir, o); err != nil {
		return err
	}
	s := v.Stack
	s.Lower = append([]string{dir}, s.Lower...)
	view, err := mountutil.OpenView(tb.Context(), s, mountutil.Old)
	if err != nil {
		return err
	}
	defer view.Close()
	return l.Compare(fmt.Sprintf("/proc/self/fd/%d/.", view.FD()), v.New)
}

// checkVerify has a case verify itself.
func checkVerify(tb testing.TB, v difftest.View) error {
	for _, engine := range []Choice{Native, Naive} {
		d, err := Open(tb.Context(), v.Stack, Options{Engine: engine})
		if err != nil {
			return err
		}
		done, err := d.Verify(tb.Context(), VerifyOptions{TempDir: v.Dir, Export: layer.ExportOptions{SkipReserved: true}})
		if err := errors.Join(err, d.Close()); err != nil {
			return fmt.Errorf("%s: %w", engine, err)
		}
		if !done.Equal {
			return fmt.Errorf("%s: %+v", engine, done)
		}
	}
	return nil
}

// checkLayer makes layers of a case in several ways and replays them.
func checkLayer(tb testing.TB, v difftest.View) error {
	l, _, err := exported(tb, v, Native, layer.ExportOptions{})
	if err != nil {
		return fmt.Errorf("native: %w", err)
	}
	opaque, _, err := exported(tb, v, Native, layer.ExportOptions{Opaque: true})
	if err != nil {
		return fmt.Errorf("opaque: %w", err)
	}
	for name, l := range map[string]difftest.Layer{"explicit": l, "opaque": opaque} {
		if err := v.Replay(tb.Context(), l, applied(tb.Context())); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if l.HasDefaultACL() || len(l.Lacks) > 0 { // GNU tar leaves what is made below with the ACL that it inherits
			continue
		}
		if err := v.Replay(tb.Context(), l, difftest.GNUTar(tb.Context())); err != nil {
			return fmt.Errorf("%s, by GNU tar: %w", name, err)
		}
	}
	if err := checkLayerDir(tb, v, l); err != nil {
		return fmt.Errorf("as overlay: %w", err)
	}
	if err := checkVerify(tb, v); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	same, _, err := exported(tb, v, Naive, layer.ExportOptions{})
	if err != nil {
		return fmt.Errorf("naive: %w", err)
	}
	if !bytes.Equal(l.Archive, same.Archive) {
		return fmt.Errorf("the engines make different layers:\n%s", difftest.CompareLayers(l, same))
	}
	return nil
}

func TestLayers(t *testing.T) {
	difftest.RunChecks(t, map[string]difftest.Check{"layer": checkLayer})
}

func TestLayers_Random(t *testing.T) {
	difftest.RunRandom(t, difftest.RandomOptions{Checks: map[string]difftest.Check{"layer": checkLayer}}, nil)
}
