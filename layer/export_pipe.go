package layer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// pieceSize is how much of a file is read at a time: so large that system calls and
// the handing over don't count, so small that many are ready at once.
const pieceSize = 64 << 10

// pieceRoom is what a piece has besides, for a header and padding.
const pieceRoom = 8 << 10

// pipe reads entries ahead of the writer: in parallel, while what is read comes out
// in order. A piece of memory is given to each part of the archive before it is
// read, in order, so the one that is to be written next never waits for memory.
//
//	send → work → readers ─┐
//	     └─ order ─────────┴→ writer → sums → hasher → free
type pipe struct {
	ctx    context.Context //nolint:containedctx // the pipe's own
	cancel context.CancelCauseFunc
	x      *exporter
	output *output

	free  chan *piece // nil: not made yet
	work  chan *piece // for the readers
	order chan *piece // for the writer, the same
	sums  chan *piece // for the hasher, what was written
	wait  sync.WaitGroup

	large chan struct{} // one for each large file that may be open

	gone    []string // directories that vanished before they were written; the writer's
	stopped bool
	entries int64 // written; the writer's
}

// piece is a part of the archive: an entry with the beginning of its content, or
// more of that.
type piece struct {
	entry *entry
	off   int64  // of the content
	n     int    // bytes of the content
	link  string // what the entry is a hard link to
	buf   []byte
	err   error
	ready chan struct{}
}

func newPipe(ctx context.Context, x *exporter, out *output) *pipe {
	p := &pipe{x: x, output: out}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.large = make(chan struct{}, sys.Descriptors(openFiles, openFilesShare))
	readers := readers()
	p.free = make(chan *piece, 32*readers)
	for range cap(p.free) {
		p.free <- nil
	}
	p.work, p.order, p.sums = make(chan *piece, cap(p.free)), make(chan *piece, cap(p.free)), make(chan *piece, cap(p.free))
	return p
}

// readers is how many files are read at once: more than there are processors, since
// a disk has something to do while others wait for it.
func readers() int { return sys.Descriptors(max(4, runtime.GOMAXPROCS(0)), openFilesShare) }

func (p *pipe) start() {
	for range readers() {
		p.wait.Go(func() {
			for b := range p.work {
				b.err = p.read(b)
				b.ready <- struct{}{}
			}
		})
	}
	p.wait.Go(p.write)
	p.wait.Go(func() {
		for b := range p.sums {
			p.output.sum(b.buf)
			if b.ready != nil {
				p.free <- b
			}
		}
	})
}

// finish waits until all is written.
func (p *pipe) finish() error {
	p.stop()
	return context.Cause(p.ctx)
}

func (p *pipe) stop() {
	if !p.stopped {
		p.stopped = true
		close(p.work)
		close(p.order)
	}
	p.wait.Wait()
}

// abort ends the pipe if finish did not, and returns why it failed.
func (p *pipe) abort(err error) error {
	cause := context.Cause(p.ctx)
	p.cancel(err)
	p.stop()
	if err != nil && cause != nil { // err came of it
		return cause
	}
	return err
}

// take returns memory for a part of the archive.
func (p *pipe) take(e *entry) (*piece, error) {
	select {
	case b := <-p.free:
		if b == nil {
			b = &piece{ready: make(chan struct{}, 1), buf: make([]byte, 0, pieceSize+pieceRoom)}
		}
		*b = piece{ready: b.ready, buf: b.buf[:0], entry: e}
		return b, nil
	case <-p.ctx.Done():
		return nil, context.Cause(p.ctx)
	}
}

// send passes an entry on. Only the exporter's own goroutine calls it.
func (p *pipe) send(e *entry) error {
	p.x.result.Entries++
	b, err := p.take(e)
	if err != nil {
		return err
	}
	if e.group != nil && e.group.first != e {
		b.link = e.group.first.path
	}
	e.refs.Store(1)
	if b.link != "" || e.Type != diff.File || e.Size <= pieceSize {
		p.pass(b)
		return nil
	}
	select {
	case p.large <- struct{}{}:
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	if b.err = p.x.open(e); b.err != nil {
		<-p.large
		b.ready <- struct{}{}
		p.order <- b
		return nil
	}
	return p.sendLarge(b, e)
}

// sendLarge passes a file on that is open, in parts.
func (p *pipe) sendLarge(b *piece, e *entry) error {
	e.large = true
	e.refs.Store(max(1, pieces(e.file.Size)))
	for off := int64(0); ; {
		b.off, b.n = off, int(min(pieceSize, e.file.Size-off))
		off += int64(b.n)
		p.pass(b)
		if off >= e.file.Size {
			return nil
		}
		var err error
		if b, err = p.take(e); err != nil {
			p.release(e, pieces(e.file.Size-off))
			return err
		}
	}
}

// pieces is how many pieces bytes of a file make.
func pieces(bytes int64) int64 { return bytes/pieceSize + min(1, bytes%pieceSize) }

// pass never blocks: there is room for all pieces.
func (p *pipe) pass(b *piece) {
	p.work <- b
	p.order <- b
}

// release says that n pieces of an entry need its file no more.
func (p *pipe) release(e *entry, n int64) {
	if e.refs.Add(-n) == 0 && e.open {
		sys.Close(e.file.FD)
		e.open = false
		if e.large {
			<-p.large
		}
	}
}

// read fills a piece.
func (p *pipe) read(b *piece) error {
	e := b.entry
	defer p.release(e, 1)
	if p.ctx.Err() != nil {
		return nil // the writer knows
	}
	var err error
	if b.off == 0 {
		if b.buf, err = p.x.begin(b); err != nil {
			return err
		}
	}
	if b.n == 0 {
		return nil
	}
	return p.x.content(b)
}

// write takes the pieces in order.
func (p *pipe) write() {
	defer close(p.sums)
	for b := range p.order {
		<-b.ready
		ok := false
		if p.ctx.Err() == nil {
			var err error
			if ok, err = p.emit(b); err != nil {
				p.cancel(err)
			}
		}
		if b.entry.more {
			p.release(b.entry, 1)
		}
		if !ok {
			b.buf = b.buf[:0]
		}
		p.sums <- b
	}
}

// put writes b, and has it hashed if it is none of the pipe's own pieces.
func (p *pipe) put(b []byte, own bool) error {
	if err := p.output.write(b); err != nil {
		return fmt.Errorf("write the layer: %w", err)
	}
	if !own {
		p.sums <- &piece{buf: b}
	}
	return nil
}

// emit writes a piece, if its entry could be read. ok: all of it, and no more.
func (p *pipe) emit(b *piece) (ok bool, err error) {
	e := b.entry
	if slices.ContainsFunc(p.gone, func(dir string) bool { return within(e.path, dir) }) {
		e.failed = true // as the directory, which was told: something else may be in its place
		return false, nil
	}
	switch {
	case errors.Is(b.err, diff.ErrRaced) || e.failed && b.link == "":
		if e.failed {
			return false, nil // told
		}
		e.failed = true
		if e.Type == diff.Dir || e.Type == 0 {
			p.gone = append(p.gone, e.path)
		}
		return false, p.x.raced(e.path)
	case b.err != nil:
		return false, b.err
	case b.link != "" && e.group.first.failed:
		return false, p.x.relink(b)
	}
	if e.more {
		if err := p.put(slices.Clone(b.buf), false); err != nil {
			return false, err
		}
		return false, p.x.copyRest(e, int64(b.n))
	}
	if err := p.put(b.buf, true); err != nil {
		return false, err
	}
	if progress := p.x.opts.OnProgress; progress != nil {
		if b.off == 0 {
			p.entries++
		}
		progress(p.entries, p.output.bytes.Load())
	}
	return true, nil
}
