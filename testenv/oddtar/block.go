package oddtar

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

const blockSize = 512

// A Dialect is how a program writes headers.
type Dialect int

// Dialects.
const (
	V7 Dialect = iota
	Ustar
	Pax
	GNU
	Star
	BusyBox
)

var dialects = []string{"v7", "ustar", "pax", "gnu", "star", "busybox"}

func (d Dialect) String() string { return dialects[d] }

// extended reports whether a dialect has extended headers.
func (d Dialect) extended() bool { return d == Pax || d == Star }

// digits is how a number is written into a field.
type digits int

const (
	nulEnded   digits = iota // 0000644\0, as most do
	spaceEnded               // 000644 \0, as in v7
	padded                   // "   644 \0", with leading spaces
	full                     // 00000644, with nothing behind
	binary256                // base-256, GNU's
)

// header is the fields of a header block.
type header struct {
	name, link           string
	prefix               string
	mode, uid, gid, size int64
	mtime                int64
	kind                 byte
	major, minor         int64
	numbers              digits
	signedSum            bool
	tail                 []byte // from offset 345 on, instead of the prefix
}

func octalField(b []byte, n int64, how digits) {
	if n < 0 || how == binary256 || n >= 1<<(3*(len(b)-1)) {
		for i := len(b) - 1; i > 0; i-- {
			b[i] = byte(n)
			n >>= 8
		}
		b[0] = 0x80
		if n < 0 {
			b[0] = 0xff
		}
		return
	}
	text := ""
	switch how {
	case spaceEnded:
		text = fmt.Sprintf("%0*o ", len(b)-2, n)
	case padded:
		text = fmt.Sprintf("%*o ", len(b)-2, n)
	case full:
		text = fmt.Sprintf("%0*o", len(b), n)
	case nulEnded, binary256:
	}
	if text == "" || len(text) > len(b) {
		text = fmt.Sprintf("%0*o", len(b)-1, n)
	}
	copy(b, text)
}

// encode makes the block.
func (h *header) encode(d Dialect) []byte {
	b := make([]byte, blockSize)
	copy(b[:100], h.name)
	octalField(b[100:108], h.mode, h.numbers)
	octalField(b[108:116], h.uid, h.numbers)
	octalField(b[116:124], h.gid, h.numbers)
	octalField(b[124:136], h.size, h.numbers)
	octalField(b[136:148], h.mtime, h.numbers)
	b[156] = h.kind
	copy(b[157:257], h.link)
	switch d {
	case V7:
	case GNU, BusyBox:
		copy(b[257:], "ustar  \x00")
	case Ustar, Pax, Star:
		copy(b[257:], "ustar\x0000")
	}
	if d != V7 {
		copy(b[265:], "somebody")
		copy(b[297:], "somegroup")
		if h.kind == '3' || h.kind == '4' {
			octalField(b[329:337], h.major, h.numbers)
			octalField(b[337:345], h.minor, h.numbers)
		}
		copy(b[345:500], h.prefix)
	}
	if d == Star { // star(5): the prefix is shorter, then come atime and ctime
		octalField(b[476:488], h.mtime, nulEnded)
		octalField(b[488:500], h.mtime, nulEnded)
		copy(b[508:], "tar\x00")
	}
	if h.tail != nil {
		copy(b[345:], h.tail)
	}
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b {
		if h.signedSum {
			sum += int(int8(c))
		} else {
			sum += int(c)
		}
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// pad appends content, to whole blocks.
func pad(b, content []byte) []byte {
	b = append(b, content...)
	return append(b, make([]byte, -len(content)&(blockSize-1))...)
}

// record is one record of an extended header.
func record(key, value string) string {
	n := len(key) + len(value) + 3
	for n != len(fmt.Sprint(n))+len(key)+len(value)+3 {
		n = len(fmt.Sprint(n)) + len(key) + len(value) + 3
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// extendedHeader is a header of type x or g with its records.
func extendedHeader(kind byte, records []string) []byte {
	content := strings.Join(records, "")
	h := header{name: "PaxHeaders/x", mode: 0o644, size: int64(len(content)), kind: kind}
	return pad(h.encode(Pax), []byte(content))
}

// longName is GNU tar's header of type L or K.
func longName(kind byte, name string) []byte {
	h := header{name: "././@LongLink", mode: 0o644, size: int64(len(name) + 1), kind: kind}
	return pad(h.encode(GNU), []byte(name+"\x00"))
}

// capability is cap_net_raw+ep.
func capability() string {
	b := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	b = binary.LittleEndian.AppendUint32(b, 1<<13)
	return string(append(b, bytes.Repeat([]byte{0}, 12)...))
}
