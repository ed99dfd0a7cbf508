package overlaydiff

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// streamed opens a diff of a large file and what else lines say.
func streamed(t *testing.T, engine Choice, lines ...string) *Diff {
	t.Helper()
	dir := testenv.Scratch(t, testenv.Tmpfs)
	lower, upper := filepath.Join(dir, "lower"), filepath.Join(dir, "upper")
	testenv.Tree(t, lower, "file d/old")
	testenv.Tree(t, upper, append(lines, "file d/large size=9000000", "file d/z")...)
	d, err := Open(t.Context(), diff.Stack{Lower: []string{lower}, Upper: upper}, Options{Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// The stream has the bytes that Export writes, several at once as well; wherever it is
// closed, and however often, nothing is left.
func TestLayer(t *testing.T) {
	for _, engine := range []Choice{Native, Naive} {
		d := streamed(t, engine)
		var want bytes.Buffer
		if _, err := d.Export(t.Context(), &want, layer.ExportOptions{}); err != nil {
			t.Fatal(err)
		}
		before := testenv.TakeInventory()
		open := []io.ReadCloser{d.Layer(t.Context(), layer.ExportOptions{}), d.Layer(t.Context(), layer.ExportOptions{})}
		for _, r := range open {
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%s: the stream has %d bytes and ends with %v, Export wrote %d", engine, len(got), err, want.Len())
			}
		}
		for _, bytes := range []int64{0, 1, 5_000_000} {
			r := d.Layer(t.Context(), layer.ExportOptions{})
			if _, err := io.CopyN(io.Discard, r, bytes); err != nil {
				t.Error(err)
			}
			open = append(open, r)
		}
		for _, r := range append(open, open...) {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := open[len(open)-1].Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("%s: a closed stream that was not at its end reads on with %v", engine, err)
		}
		if err := before.Leaks(); err != nil {
			t.Errorf("%s: %v", engine, err)
		}
	}
}

// A layer that can't be written whole never looks whole.
func TestLayer_Fails(t *testing.T) {
	d := streamed(t, Native, "file d/.wh.x")
	r := d.Layer(t.Context(), layer.ExportOptions{})
	defer r.Close()
	var reserved *layer.ReservedError
	if _, err := io.Copy(io.Discard, r); !errors.As(err, &reserved) || reserved.Path != "/d/.wh.x" {
		t.Errorf("of a name that can't be carried: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r = d.Layer(ctx, layer.ExportOptions{SkipReserved: true})
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, 1000); err != nil {
		t.Error(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("of a canceled one: %v", err)
	}
}
