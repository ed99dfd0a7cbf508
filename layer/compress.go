package layer

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Compression is how a layer's tar is packed.
type Compression string

// The compressions of OCI layers (image-spec, layer.md, "+gzip Media Types" and
// "+zstd Media Types").
const (
	None Compression = "none"
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

// ParseCompression returns the compression of that name; "" is None.
func ParseCompression(s string) (Compression, error) {
	switch c := Compression(s); c {
	case "":
		return None, nil
	case None, Gzip, Zstd:
		return c, nil
	}
	return "", fmt.Errorf("unknown compression %q: want %s, %s or %s", s, None, Gzip, Zstd)
}

// mediaType is that of a layer that is not compressed (OCI image-spec, media-types.md).
const mediaType = "application/vnd.oci.image.layer.v1.tar"

// MediaType returns the OCI media type of a layer so compressed.
func (c Compression) MediaType() string {
	switch c {
	case Gzip:
		return mediaType + "+gzip"
	case Zstd:
		return mediaType + "+zstd"
	default:
		return mediaType
	}
}

// newWriter returns what compresses to w, which Close does not close. Level is
// that of the format's own tool, 0 its default. Equal input gives equal output
// of one version of this program, whatever the number of processors.
func (c Compression) newWriter(w io.Writer, level int) (io.WriteCloser, error) {
	switch c {
	case None, "":
		return nopCloser{w}, nil
	case Gzip:
		return newGzipWriter(w, level)
	case Zstd:
		l := zstd.SpeedDefault
		if level != 0 {
			l = zstd.EncoderLevelFromZstd(level)
		}
		return zstd.NewWriter(w, zstd.WithEncoderLevel(l))
	}
	return nil, fmt.Errorf("unknown compression %q", c)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// maxWindow bounds what a zstd frame may have the decoder remember: what zstd -d
// allows, and its highest level needs.
const maxWindow = 128 << 20

// magics begin compressed data.
var magics = []struct {
	magic string
	c     Compression
}{
	{"\x1f\x8b", Gzip},
	{"\x28\xb5\x2f\xfd", Zstd},
	{"BZh", "bzip2"},
	{"\xfd7zXZ\x00", "xz"},
}

// newReader finds out how r is compressed and returns its content, and what knows of
// how many parts that was; nil: not compressed. The reader must be closed, which does
// not close r.
func newReader(r io.Reader) (io.ReadCloser, Compression, parted, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, "", nil, err
	}
	c := None
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			c = m.c
		}
	}
	if isSkippable(head) {
		c = Zstd
	}
	switch {
	case c == None:
		return io.NopCloser(b), c, nil, nil
	case c == Gzip:
		z, err := newGzipMembers(b)
		return z, c, z, err
	case c == Zstd:
		frames := &zstdFrames{src: b}
		z, err := zstd.NewReader(frames, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, c, nil, err
		}
		return z.IOReadCloser(), c, frames, nil
	}
	return nil, c, nil, fmt.Errorf("the layer is compressed with %s, which OCI layers are not: unpack it first", c)
}
