package layer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
)

// errAfter says that something follows compressed data.
var errAfter = errors.New("after the compressed data there is something that is neither more of it nor zeros: fetch the layer again")

// parted is what knows of how many parts compressed data is. One part says itself
// whether it is whole; of several the last may be missing.
type parted interface{ parts() int }

// onlyZeros reads r to its end. Programs that write tape blocks (bsdtar -z to a
// pipe, dd conv=sync) pad what they compressed with zeros.
func onlyZeros(r *bufio.Reader) error {
	for {
		b, err := r.Peek(1)
		if err == nil {
			b, _ = r.Peek(r.Buffered())
		}
		for _, c := range b {
			if c != 0 {
				return errAfter
			}
		}
		_, _ = r.Discard(len(b))
		if err != nil {
			return err
		}
	}
}

// gzipMembers reads the members of a gzip file (RFC 1952, 2.2) one after the other,
// and zeros after the last.
type gzipMembers struct {
	src   *bufio.Reader
	count int
	*gzip.Reader
}

func (g *gzipMembers) parts() int { return g.count }

func newGzipMembers(src *bufio.Reader) (*gzipMembers, error) {
	z, err := gzip.NewReader(src)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gzipMembers{src, 1, z}, nil
}

func (g *gzipMembers) Read(b []byte) (int, error) {
	for {
		n, err := g.Reader.Read(b)
		if n > 0 && err == io.EOF {
			err = nil
		}
		if err != io.EOF || n > 0 {
			return n, err
		}
		if next, err := g.src.Peek(1); err != nil || next[0] == 0 {
			return 0, onlyZeros(g.src)
		}
		if err := g.Reader.Reset(g.src); err != nil {
			return 0, err
		}
		g.Multistream(false)
		g.count++
	}
}

// Of frames (RFC 8878, 3.1): the magic numbers of zstd's, and of skippable ones but
// for the last four bits.
const (
	zstdMagic      = 0xfd2fb528
	skippableMagic = 0x184d2a50
)

// zstdFrames passes the frames of a zstd file on. It leaves out skippable ones, which
// pzstd and zstd:chunked have among the others, and zeros after the last. The decoder
// knows nothing of what is behind a frame, so somebody must see where that ends.
type zstdFrames struct {
	src  *bufio.Reader
	pass int64 // bytes to pass on before something is to be looked at
	last bool  // they end the frame
	sum  bool  // it has a checksum
	open bool  // in a frame
	n    int   // frames so far, without those left out
}

func (z *zstdFrames) parts() int { return z.n }

func (z *zstdFrames) Read(b []byte) (int, error) {
	for z.pass == 0 {
		if err := z.next(); err != nil {
			return 0, err
		}
	}
	n, err := z.src.Read(b[:min(int64(len(b)), z.pass)])
	z.pass -= int64(n)
	if n > 0 {
		return n, nil // an error comes again
	}
	return n, cutOff(err)
}

// next looks at what follows: a block in a frame, else a frame.
func (z *zstdFrames) next() error {
	if z.open && !z.last {
		return z.block()
	}
	z.open = false
	head, err := z.src.Peek(4)
	if len(head) == 0 {
		return err
	}
	if len(head) < 4 || binary.LittleEndian.Uint32(head) == 0 {
		return onlyZeros(z.src)
	}
	switch magic := binary.LittleEndian.Uint32(head); {
	case magic == zstdMagic:
		return z.frame()
	case magic&^0xf == skippableMagic:
		return z.skip()
	}
	return errAfter
}

func (z *zstdFrames) skip() error {
	var head [8]byte
	if _, err := io.ReadFull(z.src, head[:]); err != nil {
		return cutOff(err)
	}
	_, err := io.CopyN(io.Discard, z.src, int64(binary.LittleEndian.Uint32(head[4:])))
	return cutOff(err)
}

// frame passes the header of a frame on (RFC 8878, 3.1.1.1).
func (z *zstdFrames) frame() error {
	head, err := z.src.Peek(5)
	if err != nil {
		return cutOff(err)
	}
	descriptor := head[4]
	single := descriptor&0x20 != 0
	length := 5 + []int64{0, 1, 2, 4}[descriptor&3] + []int64{0, 2, 4, 8}[descriptor>>6]
	switch {
	case !single:
		length++ // the window
	case descriptor>>6 == 0:
		length++ // the content's size
	}
	z.n++
	z.pass, z.open, z.last, z.sum = length, true, false, descriptor&4 != 0
	return nil
}

// block passes a block of a frame on (RFC 8878, 3.1.1.2).
func (z *zstdFrames) block() error {
	head, err := z.src.Peek(3)
	if err != nil {
		return cutOff(err)
	}
	bits := uint32(head[0]) | uint32(head[1])<<8 | uint32(head[2])<<16
	size := int64(bits >> 3)
	const repeated = 1 // one byte, so many times
	if bits>>1&3 == repeated {
		size = 1
	}
	z.pass, z.last = 3+size, bits&1 != 0
	if z.last && z.sum {
		z.pass += 4
	}
	return nil
}

// cutOff is what the end is where there must be more. The decoder would take
// [io.ErrUnexpectedEOF] before a frame for the end of the file.
func cutOff(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // bufio and io return them bare
		return errCutOff
	}
	return err
}

// isSkippable reports whether data begins with a skippable frame.
func isSkippable(head []byte) bool {
	return len(head) >= 4 && binary.LittleEndian.Uint32(head)&^0xf == skippableMagic
}
