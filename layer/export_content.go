package layer

import (
	"errors"
	"fmt"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// tarBlock is what everything in an archive is a multiple of.
const tarBlock = 512

// open opens an entry's file. Its size is what the file has then. If another took
// its place since it was found, that is carried.
func (x *exporter) open(e *entry) error {
	f, err := e.payload.Open()
	if errors.Is(err, diff.ErrRaced) {
		if err = x.again(e); err != nil {
			return err
		}
		f, err = e.payload.Open()
	}
	if err != nil {
		return err
	}
	if f.Size != e.Size {
		if err := x.resized(e, f.Size); err != nil {
			sys.Close(f.FD)
			return err
		}
	}
	e.file, e.open = f, true
	return nil
}

// resized tells of a file that has another size than it had, unless it still says
// that it has that: a metacopy file may have lied.
func (x *exporter) resized(e *entry, size int64) error {
	now, _, err := e.payload.Again()
	if err == nil && now.Size == e.Size && now.Size != size {
		x.inexpressible(e.path, diff.WhatSize|diff.WhatContent, fmt.Sprintf("its size is said to be %d, while %d bytes can be read", e.Size, size))
		return nil
	}
	return x.raced(e.path)
}

// again looks anew at what is in an entry's place. It must be of the same type.
func (x *exporter) again(e *entry) error {
	now, payload, err := e.payload.Again()
	if err != nil {
		return err
	}
	if now.Type != e.Type {
		return diff.ErrRaced
	}
	e.Entry, e.payload = now, payload
	return x.raced(e.path)
}

// begin makes the header of a piece's entry, and opens its file if that is not open.
func (x *exporter) begin(b *piece) ([]byte, error) {
	e := b.entry
	if e.payload != nil && e.Type == 0 { // a directory that nobody looked at yet
		now, payload, err := e.payload.Again()
		if err == nil && now.Type != diff.Dir {
			err = diff.ErrRaced
		}
		if err != nil {
			return nil, err
		}
		e.Entry, e.payload = now, payload
	}
	if b.link == "" && e.Type == diff.File && !e.open {
		if err := x.open(e); err != nil {
			return nil, err
		}
		b.n = int(min(e.file.Size, pieceSize))
		if e.file.Size > pieceSize { // more than it said; its reader has this piece only
			e.more = true
			e.refs.Add(1)
		}
	}
	return x.header(b.buf, e, b.link)
}

// content reads a piece's part of the content, with the padding at its end.
func (x *exporter) content(b *piece) error {
	e := b.entry
	at, end := len(b.buf), len(b.buf)+b.n
	last := b.off+int64(b.n) == e.file.Size
	total := end
	if last {
		total += int(-e.file.Size & (tarBlock - 1))
	}
	if total > cap(b.buf) { // a header with many attributes
		b.buf = append(make([]byte, 0, total), b.buf...)
	}
	b.buf = b.buf[:total]
	clear(b.buf[end:])
	n, err := x.readData(e, b.buf[at:end], b.off)
	if err != nil {
		return exportError(e.path, "read", err)
	}
	if at += n; at < end { // it was cut while it was read
		clear(b.buf[at:end])
		return x.raced(e.path)
	}
	return nil
}

// readData fills to with what an entry's file has at off and returns how much there
// was. Holes are not read.
func (x *exporter) readData(e *entry, to []byte, off int64) (int, error) {
	if !e.file.Sparse {
		return sys.PreadFull(e.file.FD, to, off)
	}
	end := off + int64(len(to))
	data := sys.NextData(e.file.FD, off, end)
	clear(to[:data-off])
	if data == end {
		return len(to), nil
	}
	// To the next hole or the end: what a piece has is read at once.
	n, err := sys.PreadFull(e.file.FD, to[data-off:], data)
	return int(data-off) + n, err
}

// relink writes a name whose inode could not be carried under the first name: with
// all that the inode has, or as a link to a name for which that was done. Only the
// writer calls it.
func (x *exporter) relink(b *piece) (err error) {
	e, g := b.entry, b.entry.group
	b = &piece{entry: e}
	if g.moved != nil {
		if b.buf, err = x.header(nil, e, g.moved.path); err == nil {
			err = x.pipe.put(b.buf, false)
		}
		return x.orRaced(e, err)
	}
	if e.Type == diff.File {
		if err := x.open(e); err != nil {
			return x.orRaced(e, err)
		}
		defer func() { sys.Close(e.file.FD); e.open = false }()
	}
	if b.buf, err = x.header(nil, e, ""); err != nil {
		return x.orRaced(e, err)
	}
	g.moved = e
	if err := x.pipe.put(b.buf, false); err != nil || e.Type != diff.File {
		return err
	}
	return x.copyRest(e, 0)
}

// copyRest writes the content of an open file from off on. Only the writer calls it.
func (x *exporter) copyRest(e *entry, off int64) error {
	for off < e.file.Size {
		b := &piece{entry: e, off: off, n: int(min(pieceSize, e.file.Size-off))}
		if err := x.content(b); err != nil {
			return err
		}
		if err := x.pipe.put(b.buf, false); err != nil {
			return err
		}
		off += int64(b.n)
	}
	return nil
}

// orRaced tells of an entry that vanished, which is no error.
func (x *exporter) orRaced(e *entry, err error) error {
	if errors.Is(err, diff.ErrRaced) {
		e.failed = true
		return x.raced(e.path)
	}
	return err
}
