package peers

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/layer"
)

// exporter writes the layer tar of a scene.
type exporter struct {
	name  string
	write func(ctx context.Context, s *bench.Scene, w io.Writer) error
	// gzip and zstd are the compressors that its users get, each at its default
	// level. nil are those of most, see [encodings].
	gzip, zstd compressor
	// export does all that an encoding says itself; nil: write is all it has.
	export func(ctx context.Context, s *bench.Scene, w io.Writer, enc encoding) error
}

type compressor func(w io.Writer) (io.WriteCloser, error)

// encoding is what becomes of the tar on its way to nowhere.
type encoding struct {
	task string
	// digest is the sha256 of the tar (DiffID), taken as it is written.
	digest bool
	// compress chooses the compressor of an exporter. What it makes is hashed
	// again, as each store of blobs does. nil is none.
	compress func(e exporter) compressor
	ours     layer.Compression
	// decompress is for the check.
	decompress func(r io.Reader) (io.Reader, error)
}

// Layers are the tasks about writing layers: the bare tar, with its digest, and
// compressed.
func Layers() (tasks []bench.Task) {
	for _, enc := range encodings {
		t := bench.Layer()
		t.Name = enc.task
		for _, e := range append(ours(), exporters...) {
			t.Subjects = append(t.Subjects, bench.Subject{Name: e.name, Run: enc.run(e)})
		}
		t.Subjects = append(t.Subjects, limit("floor-read-1-thread", readFloor(1)), limit("floor-read-2-threads", readFloor(2)))
		tasks = append(tasks, t)
	}
	return tasks
}

// run makes a subject of an exporter. With a visit, what it wrote is read.
func (enc encoding) run(e exporter) func(context.Context, *bench.Scene, bench.Visit) (bench.Answer, error) {
	return func(ctx context.Context, s *bench.Scene, visit bench.Visit) (bench.Answer, error) {
		var n counter
		if visit == nil {
			err := enc.write(ctx, e, s, &n)
			return bench.Answer{Bytes: int64(n)}, err
		}
		r, w := io.Pipe()
		written := make(chan error, 1)
		go func() {
			err := enc.write(ctx, e, s, w)
			_ = w.CloseWithError(err) // a pipe's can't fail
			written <- err
		}()
		a, err := enc.check(ctx, r, s, visit)
		if err == nil {
			_, err = io.Copy(io.Discard, r) // what follows the end of the tar
		}
		_ = r.CloseWithError(err)
		if werr := <-written; werr != nil {
			err = werr
		}
		return a, err
	}
}

func (enc encoding) write(ctx context.Context, e exporter, s *bench.Scene, w io.Writer) error {
	if e.export != nil {
		return e.export(ctx, s, w, enc)
	}
	diffID := sha256.New()
	switch {
	case enc.compress != nil:
		compressed, err := enc.compress(e)(io.MultiWriter(w, sha256.New()))
		if err != nil {
			return err
		}
		err = e.write(ctx, s, io.MultiWriter(compressed, diffID))
		return errors.Join(err, compressed.Close())
	case enc.digest:
		w = io.MultiWriter(w, diffID)
	}
	return e.write(ctx, s, w)
}

// check reads the tar for its changes. The bare one is replayed, too: the others
// differ in what becomes of it.
func (enc encoding) check(ctx context.Context, r io.Reader, s *bench.Scene, visit bench.Visit) (bench.Answer, error) {
	if enc.digest {
		return readLayer(r, s, visit)
	}
	if enc.compress != nil {
		tar, err := enc.decompress(r)
		if err != nil {
			return bench.Answer{}, err
		}
		return readLayer(tar, s, visit)
	}
	return replayLayer(ctx, r, s, visit)
}

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

// keepLayer returns a file with the layer of a scene, for those who read layers.
// It is made once, by containerd: its walking differ is right about most.
func keepLayer(ctx context.Context, s *bench.Scene) (string, error) {
	name := filepath.Join(s.Scratch, "layer.tar")
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	err = containerdDiff(ctx, s, f)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return name, err
}
