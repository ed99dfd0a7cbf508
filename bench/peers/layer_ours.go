package peers

import (
	"context"
	"errors"
	"io"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/layer"
)

// ours are overlaydiff's own exporters.
func ours() []exporter {
	return []exporter{
		{name: "overlaydiff-native", export: exportBy(overlaydiff.Native)},
		{name: "overlaydiff-naive", export: exportBy(overlaydiff.Naive)},
	}
}

func exportBy(engine overlaydiff.Choice) func(context.Context, *bench.Scene, io.Writer, encoding) error {
	return func(ctx context.Context, s *bench.Scene, w io.Writer, enc encoding) error {
		d, err := overlaydiff.Open(ctx, s.Stack, overlaydiff.Options{Engine: engine})
		if err != nil {
			return err
		}
		_, err = d.Export(ctx, w, layer.ExportOptions{Compression: enc.ours, NoDigests: !enc.digest && enc.compress == nil})
		return errors.Join(err, d.Close())
	}
}

func ourAppliers(digest bool) []applier {
	apply := func(form layer.Form) func(context.Context, io.Reader, string) error {
		return func(ctx context.Context, r io.Reader, dir string) error {
			_, err := layer.Apply(ctx, r, dir, layer.ApplyOptions{Form: form, NoDigests: !digest})
			return err
		}
	}
	return []applier{{name: "overlaydiff", digests: digest, apply: map[format]func(context.Context, io.Reader, string) error{
		asPlain: apply(layer.Plain), asOverlay: apply(layer.Overlay),
	}}}
}
