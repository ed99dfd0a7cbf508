package overlaydiff

import (
	"context"
	"io"
	"sync"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/wholefile"
	"github.com/overlaydiff/overlaydiff/layer"
)

// Export writes the changes to w as a layer, see [layer.Export]. The layer is of
// the mounted view, and an overlay that is in use is only read. Unless opts maps ids, its
// owners are those that [Options.Owners] says.
func (d *Diff) Export(ctx context.Context, w io.Writer, opts layer.ExportOptions) (layer.Exported, error) {
	return layer.Export(ctx, d.engine, d.walkOptions(), w, d.owned(opts))
}

// Container returns the map of the ids that Export and Explain write instead of the
// host's; it is zero if they are the host's.
func (d *Diff) Container() diff.IDMap {
	if d.opts.Owners == OwnersHost {
		return diff.IDMap{}
	}
	return d.stack.Container
}

// owned adds how ids are mapped, unless opts says it.
func (d *Diff) owned(opts layer.ExportOptions) layer.ExportOptions {
	if len(opts.UIDs)+len(opts.GIDs) == 0 {
		ids := d.Container()
		opts.UIDs, opts.GIDs = ids.Users, ids.Groups
	}
	return opts
}

// Layer returns the layer that [Diff.Export] writes, as a stream: what a graph driver
// answers with. An error of the export is what Read returns instead of [io.EOF]. Close
// ends the export if it goes on, and returns when it has ended; it does not close d.
// Whoever does not read to the end must close the stream.
func (d *Diff) Layer(ctx context.Context, opts layer.ExportOptions) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	pipe, wait := piped(func(w io.Writer) error {
		defer cancel()
		_, err := d.Export(ctx, w, opts)
		return err
	})
	return &stream{Reader: pipe, end: sync.OnceFunc(func() {
		cancel()
		_ = wait() // Read has said it, or nobody wants to know
	})}
}

// stream is the reading end of an export.
type stream struct {
	io.Reader
	end func()
}

func (s *stream) Close() error {
	s.end()
	return nil
}

// ExportFile writes the changes as a layer to the file at path, mode 0666 before
// umask. It has that name only once it is whole, and replaces what had the name
// before; what is no regular file, a fifo for example, is written to as it is. A link or
// fifo that another user put into a shared directory is refused (fs.ErrPermission).
func (d *Diff) ExportFile(ctx context.Context, path string, opts layer.ExportOptions) (layer.Exported, error) {
	var done layer.Exported
	err := wholefile.Write(path, func(w io.Writer) (err error) {
		done, err = d.Export(ctx, w, opts)
		return err
	})
	return done, err
}
