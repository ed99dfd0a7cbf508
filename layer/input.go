package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

const (
	blockSize = 256 << 10
	blocks    = 16 // read ahead
)

// input is the tar in a layer. It is read ahead and unpacked by one goroutine and
// hashed by another.
type input struct {
	opts        ApplyOptions
	src         io.Reader
	stop        func() error // why to read no further
	ready       chan *block  // to Read
	hashes      chan *block
	free        chan *block
	quit        chan struct{}
	once        sync.Once
	running     sync.WaitGroup
	raw, diffID digest.Digester // nil: not wanted; raw also where it would be the same
	compression Compression

	// Set by the fetching goroutine before it closes ready.
	err      error
	panicked any
	whole    bool // its compression says that nothing is missing

	block *block // being read
	rest  []byte
	some  bool // Read has given something
	atEnd bool // Read has said EOF
}

type block struct {
	b    []byte
	n    int
	uses atomic.Int32
}

func openInput(ctx context.Context, r io.Reader, opts ApplyOptions) *input {
	in := &input{
		opts: opts, src: r, stop: ctx.Err,
		ready: make(chan *block, blocks), hashes: make(chan *block, blocks), free: make(chan *block, blocks),
		quit: make(chan struct{}), diffID: opts.digester(opts.DiffID), raw: opts.digester(opts.Digest),
	}
	for range blocks {
		in.free <- &block{}
	}
	in.running.Go(in.fetch)
	in.running.Go(func() {
		for b := range in.hashes {
			if in.diffID != nil {
				_, _ = in.diffID.Hash().Write(b.b[:b.n]) // a hash takes all
			}
			in.release(b)
		}
	})
	return in
}

// close ends the goroutines. It waits for the source's Read to return.
func (in *input) close() {
	in.once.Do(func() { close(in.quit) })
	in.running.Wait()
}

func (in *input) release(b *block) {
	if b.uses.Add(-1) == 0 {
		in.free <- b
	}
}

// hashed reads the source and hashes it.
type hashed struct{ in *input }

func (h *hashed) Read(b []byte) (int, error) {
	n, err := h.in.src.Read(b)
	if h.in.raw != nil {
		_, _ = h.in.raw.Hash().Write(b[:n])
	}
	return n, err
}

// fetch reads the source to its end.
func (in *input) fetch() {
	defer close(in.ready)
	defer close(in.hashes)
	defer func() { in.panicked = recover() }() // Read goes on with it
	raw := &hashed{in}
	r, c, parts, err := newReader(raw)
	in.compression = c
	if err != nil {
		in.err = err
		return
	}
	defer r.Close()
	if c == None && in.diffID != nil && algorithm(in.opts.Digest) == algorithm(in.opts.DiffID) {
		in.raw = nil
	}
	for err == nil {
		var b *block
		select {
		case b = <-in.free:
		case <-in.quit:
			return
		}
		if b.b == nil {
			b.b = make([]byte, blockSize)
		}
		b.n, err = readFull(r, b.b)
		b.uses.Store(2)
		in.hashes <- b // has room for all blocks, as ready has
		in.ready <- b
	}
	if err == io.EOF {
		_, err = io.Copy(io.Discard, raw)
	}
	in.whole = parts != nil && parts.parts() == 1
	in.err = err
}

// readFull fills b, or returns why it could not. Unlike io.ReadFull's, its error is
// the reader's: the end of a source is not that of what was cut off.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

// Read gives the tar.
func (in *input) Read(b []byte) (int, error) {
	for len(in.rest) == 0 {
		if in.block != nil {
			in.release(in.block)
			in.block = nil
		}
		if err := in.stop(); err != nil {
			return 0, err
		}
		next, ok := <-in.ready
		switch {
		case ok:
			in.block, in.rest = next, next.b[:next.n]
		case in.panicked != nil:
			panic(in.panicked)
		case in.err != nil:
			return 0, in.err
		default:
			in.atEnd = true
			return 0, io.EOF
		}
	}
	in.some = true
	n := copy(b, in.rest)
	in.rest = in.rest[n:]
	return n, nil
}

// errCutOff says that the archive is not whole.
var errCutOff = errors.New("the layer is cut off: fetch it again")

// ended is called where package tar saw the end. It takes an archive without its
// two blocks of zeros for whole. What wrote it may have left them out, as umoci does,
// but one that lost its last entries looks the same: only a digest tells, or the
// compression. Nothing at all is a layer that changes nothing, as some programs write
// it.
func (in *input) ended() error {
	if in.atEnd && in.some && !in.whole && in.opts.Digest == "" && in.opts.DiffID == "" {
		return fmt.Errorf("%w (the archive has no end mark; if it never had one, give its digest)", errCutOff)
	}
	return nil
}

// wrong explains an error of package tar.
func (in *input) wrong(err error, entries int64) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errCutOff
	case errors.Is(err, tar.ErrHeader) && entries == 0:
		return fmt.Errorf("this is no layer: %w", err)
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("the layer is damaged after entry %d: %w", entries, err)
	}
	return err
}

// finish reads the input to its end and checks the digests.
func (in *input) finish() (c Compression, raw, diffID digest.Digest, err error) {
	if _, err := io.Copy(io.Discard, in); err != nil {
		return "", "", "", in.wrong(err, -1)
	}
	in.close()
	if in.diffID != nil {
		diffID = in.diffID.Digest()
	}
	switch {
	case in.raw != nil:
		raw = in.raw.Digest()
	case in.compression == None:
		raw = diffID
	}
	err = errors.Join(checkDigest("digest", in.opts.Digest, raw), checkDigest("diff ID", in.opts.DiffID, diffID))
	return in.compression, raw, diffID, err
}
