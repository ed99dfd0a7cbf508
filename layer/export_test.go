package layer

import "io"

// NewWriter is newWriter for tests.
func NewWriter(c Compression, w io.Writer, level int) (io.WriteCloser, error) {
	return c.newWriter(w, level)
}

// EncodeHeader is what Export writes of a header.
var EncodeHeader = encode
