package layer

import (
	"hash"
	"io"
	"sync/atomic"

	"crypto/sha256"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// output is where an archive goes: through compression to a writer, with a digest
// of both sides.
//
//	write ─┬→ diffID
//	       └→ compress → digest → w
type output struct {
	compression Compression
	compress    io.WriteCloser // nil: not compressed
	compressed  counter
	diffID      hash.Hash // nil: not wanted
	bytes       atomic.Int64
	jobs        chan []byte // for the goroutine that computes diffID
	done        chan struct{}
}

// counter counts and hashes what it passes on.
type counter struct {
	w    io.Writer
	hash hash.Hash // nil: not wanted
	n    int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	if c.hash != nil {
		c.hash.Write(b[:n])
	}
	return n, err
}

func newOutput(w io.Writer, o ExportOptions) (*output, error) {
	out := &output{compression: o.Compression, compressed: counter{w: w}}
	if out.compression == "" {
		out.compression = None
	}
	if !o.NoDigests {
		out.diffID = sha256.New()
		out.jobs, out.done = make(chan []byte), make(chan struct{})
		go out.sum()
	}
	if out.compression == None {
		return out, nil
	}
	if !o.NoDigests {
		out.compressed.hash = sha256.New()
	}
	var err error
	out.compress, err = out.compression.newWriter(&out.compressed, o.Level)
	return out, err
}

// sum hashes what goes in, beside what else is done with it.
func (o *output) sum() {
	for b := range o.jobs {
		o.diffID.Write(b)
		o.done <- struct{}{}
	}
	close(o.done)
}

// write writes b, which is the caller's again afterwards.
func (o *output) write(b []byte) (err error) {
	if o.diffID != nil {
		o.jobs <- b
	}
	if o.compress != nil {
		_, err = o.compress.Write(b)
	} else {
		_, err = o.compressed.Write(b)
	}
	if o.diffID != nil {
		<-o.done
	}
	o.bytes.Add(int64(len(b)))
	return err
}

// close ends the archive if it is whole, and frees what the output holds.
func (o *output) close(whole bool) (err error) {
	if whole {
		err = o.write(make([]byte, 2*tarBlock))
	}
	if o.compress != nil {
		if closing := o.compress.Close(); err == nil && whole {
			err = closing
		}
	}
	if o.diffID != nil {
		close(o.jobs)
		<-o.done
	}
	return err
}

// describe sets what is known of the archive when it is closed.
func (o *output) describe(e *Exported) {
	e.Bytes = o.bytes.Load()
	e.Descriptor = ocispec.Descriptor{MediaType: o.compression.MediaType(), Size: o.compressed.n}
	if o.diffID == nil {
		return
	}
	e.DiffID = digest.NewDigest(digest.SHA256, o.diffID)
	e.Descriptor.Digest = e.DiffID
	if o.compressed.hash != nil {
		e.Descriptor.Digest = digest.NewDigest(digest.SHA256, o.compressed.hash)
	}
}
