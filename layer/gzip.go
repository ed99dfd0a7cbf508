package layer

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	gzipBlock = 512 << 10
	gzipDict  = 32 << 10 // deflate's window
)

// gzipHeader has no name and no time (RFC 1952, 2.3): deflate, unknown system.
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}

// gzipCodec writes one gzip member, of blocks that are compressed one by one: each
// knows the 32 KiB before it, as if one had compressed it all, and ends at a byte.
type gzipCodec struct {
	level int
	crc   uint32
	size  uint32
	pool  sync.Pool // of *flate.Writer
}

// newGzipWriter returns an error if there is no such level.
func newGzipWriter(w io.Writer, level int) (io.WriteCloser, error) {
	if level == 0 {
		level = flate.DefaultCompression
	}
	first, err := flate.NewWriterDict(io.Discard, level, nil)
	if err != nil {
		return nil, err
	}
	g := &gzipCodec{level: level}
	g.pool.Put(first)
	return newParallelWriter(w, g, gzipBlock, gzipDict)
}

func (g *gzipCodec) header() []byte { return gzipHeader }

func (g *gzipCodec) count(block []byte) {
	g.crc = crc32.Update(g.crc, crc32.IEEETable, block)
	g.size += uint32(len(block))
}

func (g *gzipCodec) compress(out *bytes.Buffer, in, dict []byte, last bool) error {
	f, ok := g.pool.Get().(*flate.Writer)
	if ok {
		f.ResetDict(out, dict)
	} else {
		var err error
		if f, err = flate.NewWriterDict(out, g.level, dict); err != nil {
			return err
		}
	}
	defer g.pool.Put(f)
	if _, err := f.Write(in); err != nil {
		return err
	}
	if last {
		return f.Close()
	}
	return f.Flush()
}

func (g *gzipCodec) trailer() []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, g.crc), g.size)
}
