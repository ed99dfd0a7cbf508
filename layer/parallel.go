package layer

import (
	"bytes"
	"io"
	"runtime"
)

// parallelWriter compresses blocks of fixed size by several goroutines and writes
// them in order: what comes out does not depend on how many there are.
type parallelWriter struct {
	w     io.Writer
	codec codec
	size  int    // of a block
	dict  int    // how much of the block before a block may refer to
	block []byte // being filled: in of job
	job   *compressJob
	tail  []byte         // the end of the block before
	queue []*compressJob // in order
	spare []*compressJob // with memory to use again
	limit int            // of the queue
	err   error
	done  bool
}

// codec is a format of which blocks can be compressed one by one.
type codec interface {
	// compress appends in to out. It is called from several goroutines at once.
	compress(out *bytes.Buffer, in, dict []byte, last bool) error
	// count is called with the blocks in order, before they are compressed.
	count(block []byte)
	header() []byte
	trailer() []byte
}

type compressJob struct {
	in, dict []byte
	out      bytes.Buffer
	err      error
	ready    chan struct{}
}

func newParallelWriter(w io.Writer, c codec, size, dict int) (*parallelWriter, error) {
	p := &parallelWriter{w: w, codec: c, size: size, dict: dict, limit: runtime.GOMAXPROCS(0) + 1}
	_, p.err = w.Write(c.header())
	return p, p.err
}

// Write hands full blocks on.
func (p *parallelWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 && p.err == nil {
		if p.job == nil {
			p.take()
		}
		m := min(len(b), p.size-len(p.block))
		p.block = append(p.block, b[:m]...)
		b, n = b[m:], n+m
		if len(p.block) == p.size {
			p.flush(false)
		}
	}
	return n, p.err
}

// take begins a block.
func (p *parallelWriter) take() {
	if n := len(p.spare); n > 0 {
		p.job, p.spare = p.spare[n-1], p.spare[:n-1]
	} else {
		p.job = &compressJob{in: make([]byte, 0, p.size), ready: make(chan struct{}, 1)}
	}
	p.block = p.job.in[:0]
	p.job.out.Reset()
}

// flush starts to compress the block that is there.
func (p *parallelWriter) flush(last bool) {
	if p.job == nil {
		p.take()
	}
	j := p.job
	j.in, j.dict = p.block, append(j.dict[:0], p.tail...)
	p.tail = append(p.tail[:0], j.in[max(0, len(j.in)-p.dict):]...)
	p.job, p.block = nil, nil
	p.codec.count(j.in)
	p.queue = append(p.queue, j)
	go func() {
		j.err = p.codec.compress(&j.out, j.in, j.dict, last)
		j.ready <- struct{}{}
	}()
	for len(p.queue) > p.limit {
		p.takeOne()
	}
}

// takeOne waits for the oldest block and writes it.
func (p *parallelWriter) takeOne() {
	j := p.queue[0]
	p.queue = p.queue[1:]
	<-j.ready
	if p.err == nil {
		p.err = j.err
	}
	if p.err == nil {
		_, p.err = p.w.Write(j.out.Bytes())
	}
	p.spare = append(p.spare, j)
}

// Close writes what is left. Also after an error it must be called: no goroutine
// runs when it returns.
func (p *parallelWriter) Close() error {
	if p.done {
		return p.err
	}
	p.done = true
	if p.err == nil {
		p.flush(true)
	}
	for len(p.queue) > 0 {
		p.takeOne()
	}
	if p.err == nil {
		_, p.err = p.w.Write(p.codec.trailer())
	}
	return p.err
}
