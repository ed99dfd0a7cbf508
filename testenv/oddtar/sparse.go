package oddtar

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// hole is a sparse file: where there is data.
type hole struct {
	size int64
	data []span
}

type span struct{ off, len int64 }

func randomHole(r *rand.Rand, parts int) hole {
	var s hole
	at := int64(r.IntN(3)) * 512
	for i := range parts {
		// GNU tar reads every part from a new block on, others from where the last part
		// ended. So all but the last are whole blocks, as holes of file systems are.
		n := 512 * int64(1+r.IntN(3))
		if i == parts-1 {
			n -= int64(r.IntN(512))
		}
		s.data = append(s.data, span{at, n})
		at += n + int64(1+r.IntN(4))*512
	}
	if s.size = at; r.IntN(2) == 0 && len(s.data) > 0 {
		last := s.data[len(s.data)-1]
		s.size = last.off + last.len
		return s
	}
	s.data = append(s.data, span{s.size, 0}) // without it, GNU tar makes a shorter file
	return s
}

// content is what is stored, one span after the other.
func (s hole) content() []byte {
	var b []byte
	for i, d := range s.data {
		b = append(b, bytes.Repeat([]byte{'a' + byte(i%26)}, int(d.len))...)
	}
	return b
}

// old is GNU's first format: the map is in the header, type S, and in blocks behind it.
func (s hole) old(h header) []byte {
	content := s.content()
	h.kind, h.size = 'S', int64(len(content))
	const inHeader, inBlock = 4, 21
	h.tail = make([]byte, 155)
	table := func(b []byte, spans []span, most int) {
		for i := range min(most, len(spans)) {
			octalField(b[24*i:24*i+12], spans[i].off, h.numbers)
			octalField(b[24*i+12:24*i+24], spans[i].len, h.numbers)
		}
	}
	table(h.tail[41:], s.data, inHeader)
	rest := s.data[min(inHeader, len(s.data)):]
	if len(rest) > 0 {
		h.tail[137] = 1
	}
	octalField(h.tail[138:150], s.size, h.numbers)
	b := h.encode(GNU)
	for len(rest) > 0 {
		block := make([]byte, blockSize)
		table(block, rest, inBlock)
		rest = rest[min(inBlock, len(rest)):]
		if len(rest) > 0 {
			block[504] = 1
		}
		b = append(b, block...)
	}
	return pad(b, content)
}

// pax is one of the formats 0.0, 0.1 and 1.0, which have the map in records or, the
// last, before the content.
func (s hole) pax(format int, h header, records []string) []byte {
	content := s.content()
	name := h.name
	add := func(key, format string, args ...any) {
		records = append(records, record(key, fmt.Sprintf(format, args...)))
	}
	switch format {
	case 0:
		add("GNU.sparse.size", "%d", s.size)
		add("GNU.sparse.numblocks", "%d", len(s.data))
		for _, d := range s.data {
			add("GNU.sparse.offset", "%d", d.off)
			add("GNU.sparse.numbytes", "%d", d.len)
		}
	case 1:
		list := ""
		for i, d := range s.data {
			if i > 0 {
				list += ","
			}
			list += fmt.Sprintf("%d,%d", d.off, d.len)
		}
		add("GNU.sparse.size", "%d", s.size)
		add("GNU.sparse.numblocks", "%d", len(s.data))
		add("GNU.sparse.name", "%s", name)
		add("GNU.sparse.map", "%s", list)
		h.name = "GNUSparseFile.0/x"
	default:
		add("GNU.sparse.major", "1")
		add("GNU.sparse.minor", "0")
		add("GNU.sparse.name", "%s", name)
		add("GNU.sparse.realsize", "%d", s.size)
		h.name = "GNUSparseFile.0/x"
		list := fmt.Sprintf("%d\n", len(s.data))
		for _, d := range s.data {
			list += fmt.Sprintf("%d\n%d\n", d.off, d.len)
		}
		content = append(pad(nil, []byte(list)), content...)
	}
	h.kind, h.size = '0', int64(len(content))
	return pad(append(extendedHeader('x', records), h.encode(Pax)...), content)
}
