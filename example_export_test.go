package overlaydiff_test

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
)

// A driver's Diff: the changes of a container as a layer, as a stream.
func ExampleDiff_Export() {
	driver := func(ctx context.Context, s diff.Stack) io.ReadCloser {
		r, w := io.Pipe()
		go func() {
			d, err := overlaydiff.Open(ctx, s, overlaydiff.Options{})
			if err == nil {
				defer d.Close()
				_, err = d.Export(ctx, w, layer.ExportOptions{})
			}
			w.CloseWithError(err) // the reader's error: half a layer is never taken for whole
		}()
		return r
	}
	stack := diff.Stack{Lower: []string{"/var/lib/driver/a", "/var/lib/driver/b"}, Upper: "/var/lib/driver/c"}
	_ = driver(context.Background(), stack)
}

// A build step: a compressed layer in a file, with what an image's manifest says of
// it.
func ExampleDiff_ExportFile() {
	ctx := context.Background()
	stack, err := overlaydiff.FromMount(ctx, "/run/build/merged")
	if err != nil {
		log.Print(err)
		return
	}
	d, err := overlaydiff.Open(ctx, stack, overlaydiff.Options{})
	if err != nil {
		log.Print(err)
		return
	}
	defer d.Close()
	done, err := d.ExportFile(ctx, "/run/build/layer.tar.gz", layer.ExportOptions{Compression: layer.Gzip})
	if err != nil {
		log.Print(err)
		return
	}
	fmt.Println(done.Descriptor.MediaType, done.Descriptor.Digest, done.Descriptor.Size, done.DiffID)
}
