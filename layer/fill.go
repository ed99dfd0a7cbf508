package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/overlaydiff/overlaydiff/internal/idmap"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// openFiles is how many files may be open at once, at most and where few descriptors
// are allowed: of those, for each of reading and writing.
const (
	openFiles      = 64
	openFilesShare = 16
)

const (
	// chunkSize is what one worker writes at a time. ext4 takes larger ones at more
	// cost; of zeros alone, they are left out, so that sparse files stay so.
	chunkSize  = 64 << 10
	chunks     = 64 // in memory, read and not yet written
	maxFillers = 8
)

// filler writes the content of files, which are made already, and sets their
// metadata. Everything about names happens in the order of the archive, before;
// so it does not matter when a file is filled, nor what became of its name.
type filler struct {
	jobs    chan chunk
	free    chan []byte
	slots   chan struct{} // one for each file that may be open
	workers sync.WaitGroup
	once    sync.Once
	failed  atomic.Bool
	mu      sync.Mutex
	err     error // the first
}

// file is a new file that is being filled.
type file struct {
	fd       int
	path     string
	size     int64
	meta     meta
	inherits bool         // it got an access control list of its directory
	parts    atomic.Int32 // chunks not yet written, and one while they are read
	sparse   atomic.Bool
	broken   atomic.Bool // content is missing
}

type chunk struct {
	f   *file
	b   []byte
	off int64
}

// errFill says that the filler has the error.
var errFill = errors.New("a file could not be written")

func newFiller() *filler {
	fl := &filler{jobs: make(chan chunk, chunks), free: make(chan []byte, chunks)}
	fl.slots = make(chan struct{}, sys.Descriptors(openFiles, openFilesShare))
	for range chunks {
		fl.free <- nil
	}
	for range min(runtime.GOMAXPROCS(0), maxFillers) {
		fl.workers.Go(fl.work)
	}
	return fl
}

// wait ends the workers when all files are done, and returns the first error.
func (fl *filler) wait() error {
	fl.once.Do(func() { close(fl.jobs) })
	fl.workers.Wait()
	return fl.err
}

// open calls make, which opens a file for fill, when there may be one more.
func (fl *filler) open(make func() error) error {
	fl.slots <- struct{}{} // workers free it, who wait for nothing
	err := make()
	if err != nil {
		<-fl.slots
	}
	return err
}

// fill reads the content of f, which open opened, and has it written. It takes over
// the descriptor.
// n is what was read.
func (fl *filler) fill(ctx context.Context, f *file, r io.Reader) (n int64, err error) {
	f.parts.Store(1)
	whole := false
	defer func() { // also after a panic of the reader
		if !whole {
			f.broken.Store(true)
		}
		fl.part(f)
	}()
	if f.size > chunkSize { // also says early what the file system can't hold
		if err := sys.Truncate(f.fd, f.size); err != nil {
			return 0, pathError("ftruncate", f.path, err)
		}
	}
	for n < f.size {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if fl.failed.Load() {
			return n, errFill
		}
		b := <-fl.free
		if b == nil {
			b = make([]byte, chunkSize)
		}
		m, err := io.ReadFull(r, b[:min(chunkSize, f.size-n)])
		if err != nil {
			fl.free <- b
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
		f.parts.Add(1)
		fl.jobs <- chunk{f, b[:m], n}
		n += int64(m)
	}
	whole = true
	return n, nil
}

func (fl *filler) work() {
	for c := range fl.jobs {
		if !fl.failed.Load() && !c.f.broken.Load() {
			if err := c.f.write(c.b, c.off); err != nil {
				c.f.broken.Store(true)
				fl.fail(c.f, pathError("write", c.f.path, err))
			}
		} else {
			c.f.broken.Store(true)
		}
		fl.free <- c.b[:cap(c.b)]
		fl.part(c.f)
	}
}

// part is called when a chunk is written; the last finishes the file.
func (fl *filler) part(f *file) {
	if f.parts.Add(-1) > 0 {
		return
	}
	defer func() { sys.Close(f.fd); <-fl.slots }()
	if f.broken.Load() {
		return
	}
	if err := f.finish(); err != nil {
		fl.fail(f, err)
	}
}

func (fl *filler) fail(f *file, err error) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.err == nil {
		fl.err = fmt.Errorf("entry %s: %w", quote(f.path), err)
		fl.failed.Store(true)
	}
}

var zeros [chunkSize]byte

// write writes a chunk, unless it is a hole.
func (f *file) write(b []byte, off int64) error {
	if bytes.Equal(b, zeros[:]) {
		f.sparse.Store(true)
		return nil
	}
	return sys.PwriteFull(f.fd, b, off)
}

// finish sets the metadata, after the content: writing takes capabilities away.
func (f *file) finish() error {
	if f.sparse.Load() {
		if err := sys.Truncate(f.fd, f.size); err != nil {
			return pathError("ftruncate", f.path, err)
		}
	}
	if f.inherits {
		if err := sys.RemoveXattr(f.fd, "", idmap.ACLAccess); err != nil {
			return pathError("removexattr", f.path, err)
		}
	}
	if err := f.meta.setFD(f.fd, f.path); err != nil {
		return err
	}
	return pathError("utimensat", f.path, sys.SetTimesAt(f.fd, "", f.meta.atime, f.meta.mtime))
}
