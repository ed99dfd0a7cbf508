package layer

import (
	"hash"
	"io"
	"sync/atomic"

	"crypto/sha256"

	"github.com/opencontainers/go-digest"
)

// output is where an archive goes: through compression to a writer, with a digest
// of both sides.
//
//	write → compress → digest → w
//	sum   → diffID
type output struct {
	compression Compression
	compress    io.WriteCloser // nil: not compressed
	compressed  counter
	diffID      hash.Hash // nil: not wanted
	bytes       atomic.Int64
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

// sum adds b, which write wrote, to the digest of the archive: beside what is
// written next.
func (o *output) sum(b []byte) {
	if o.diffID != nil {
		o.diffID.Write(b)
	}
}

// write writes b, which is the caller's again afterwards.
func (o *output) write(b []byte) (err error) {
	if o.compress != nil {
		_, err = o.compress.Write(b)
	} else {
		_, err = o.compressed.Write(b)
	}
	o.bytes.Add(int64(len(b)))
	return err
}

// close ends the archive if it is whole, and frees what the output holds.
func (o *output) close(whole bool) (err error) {
	if whole {
		end := make([]byte, 2*tarBlock)
		o.sum(end)
		err = o.write(end)
	}
	if o.compress != nil {
		if closing := o.compress.Close(); err == nil && whole {
			err = closing
		}
	}
	return err
}

// describe sets what is known of the archive when it is closed.
func (o *output) describe(e *Exported) {
	e.Bytes = o.bytes.Load()
	e.Descriptor = Descriptor{MediaType: o.compression.MediaType(), Size: o.compressed.n}
	if o.diffID == nil {
		return
	}
	e.DiffID = digest.NewDigest(digest.SHA256, o.diffID)
	e.Descriptor.Digest = e.DiffID
	if o.compressed.hash != nil {
		e.Descriptor.Digest = digest.NewDigest(digest.SHA256, o.compressed.hash)
	}
}
