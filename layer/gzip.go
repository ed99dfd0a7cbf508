package layer

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	gzipBlock = 512 << 10 // compressed alone, so its output does not depend on others
	gzipDict  = 32 << 10  // the end of the block before, which a block may refer to
)

// gzipHeader has no name and no time (RFC 1952, 2.3): deflate, unknown system.
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}

// gzipWriter writes one gzip member, its blocks of fixed size compressed by
// several goroutines: each knows the 32 KiB before its block, as if one had
// compressed it all, and ends it at a byte.
type gzipWriter struct {
	w     io.Writer
	level int
	crc   uint32
	size  uint32
	block []byte // being filled
	dict  []byte
	queue []*gzipJob // in order
	limit int
	pool  sync.Pool // of *flate.Writer
	err   error
	done  bool
}

type gzipJob struct {
	in, dict []byte
	last     bool
	out      bytes.Buffer
	err      error
	ready    chan struct{}
}

// newGzipWriter returns an error if there is no such level.
func newGzipWriter(w io.Writer, level int) (*gzipWriter, error) {
	if level == 0 {
		level = flate.DefaultCompression
	}
	first, err := flate.NewWriterDict(io.Discard, level, nil)
	if err != nil {
		return nil, err
	}
	g := &gzipWriter{w: w, level: level, limit: runtime.GOMAXPROCS(0) + 1}
	g.pool.Put(first)
	_, g.err = w.Write(gzipHeader)
	return g, g.err
}

// Write hands full blocks on.
func (g *gzipWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 && g.err == nil {
		if g.block == nil {
			g.block = make([]byte, 0, gzipBlock)
		}
		m := min(len(b), gzipBlock-len(g.block))
		g.block = append(g.block, b[:m]...)
		b, n = b[m:], n+m
		if len(g.block) == gzipBlock {
			g.flush(false)
		}
	}
	return n, g.err
}

// flush starts to compress the block that is there.
func (g *gzipWriter) flush(last bool) {
	g.crc = crc32.Update(g.crc, crc32.IEEETable, g.block)
	g.size += uint32(len(g.block))
	j := &gzipJob{in: g.block, dict: g.dict, last: last, ready: make(chan struct{})}
	g.dict, g.block = g.block[max(0, len(g.block)-gzipDict):], nil
	g.queue = append(g.queue, j)
	go g.compress(j)
	for len(g.queue) > g.limit {
		g.takeOne()
	}
}

func (g *gzipWriter) compress(j *gzipJob) {
	defer close(j.ready)
	f, ok := g.pool.Get().(*flate.Writer)
	if !ok {
		if f, j.err = flate.NewWriterDict(&j.out, g.level, j.dict); j.err != nil {
			return
		}
	} else {
		f.ResetDict(&j.out, j.dict)
	}
	defer g.pool.Put(f)
	if _, j.err = f.Write(j.in); j.err != nil {
		return
	}
	if j.last {
		j.err = f.Close()
	} else {
		j.err = f.Flush()
	}
}

// takeOne waits for the oldest block and writes it.
func (g *gzipWriter) takeOne() {
	j := g.queue[0]
	g.queue = g.queue[1:]
	<-j.ready
	if g.err == nil {
		g.err = j.err
	}
	if g.err == nil {
		_, g.err = g.w.Write(j.out.Bytes())
	}
}

// Close writes what is left. Also after an error it must be called: no goroutine
// runs when it returns.
func (g *gzipWriter) Close() error {
	if g.done {
		return g.err
	}
	g.done = true
	if g.err == nil {
		g.flush(true)
	}
	for len(g.queue) > 0 {
		g.takeOne()
	}
	if g.err == nil {
		_, g.err = g.w.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, g.crc), g.size))
	}
	return g.err
}
