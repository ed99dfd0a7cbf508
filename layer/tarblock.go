package layer

import (
	"archive/tar"
	"path"
	"strconv"
	"strings"
	"time"
)

// What fits in fields of a header block (POSIX, pax, "ustar Interchange Format"):
// names, and numbers in octal of seven and eleven digits.
const (
	mostName  = 100
	mostShort = 1<<21 - 1
	mostLong  = 1<<33 - 1
)

// encodeUsual appends a header as package archive/tar writes it, several times as
// fast, if it is a usual one: with nothing but a part of a second in need of an
// extended record.
func encodeUsual(to []byte, h *tar.Header) (_ []byte, ok bool) {
	sec := h.ModTime.Unix()
	if len(h.PAXRecords) > 0 || !plainName(h.Name) || !plainName(h.Linkname) || sec < 0 || sec > mostLong ||
		h.Uid < 0 || h.Uid > mostShort || h.Gid < 0 || h.Gid > mostShort || h.Size < 0 || h.Size > mostLong {
		return to, false
	}
	if h.ModTime.Nanosecond() != 0 {
		record := mtimeRecord(h.ModTime)
		dir, file := path.Split(h.Name)
		name := path.Join(dir, "PaxHeaders.0", file)
		name = strings.TrimRight(name[:min(mostName, len(name))], "/")
		to = appendBlock(to, &tar.Header{Typeflag: tar.TypeXHeader, Name: name, Size: int64(len(record))}, 0)
		at := len(to)
		to = append(to, emptyBlock[:]...)
		copy(to[at:], record)
	}
	return appendBlock(to, h, sec), true
}

func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c == 0 || c >= 0x80 {
			return false
		}
	}
	return len(name) <= mostName
}

// mtimeRecord is the extended record of a time with a part of a second.
func mtimeRecord(t time.Time) string {
	nanos := strconv.Itoa(1e9 + t.Nanosecond())[1:]
	value := strconv.FormatInt(t.Unix(), 10) + "." + strings.TrimRight(nanos, "0")
	const around = len("12 mtime=\n") // its length, always of two digits, counts
	return strconv.Itoa(around+len(value)) + " mtime=" + value + "\n"
}

var emptyBlock [tarBlock]byte

// appendBlock appends the block of a header whose fields fit.
func appendBlock(to []byte, h *tar.Header, sec int64) []byte {
	at := len(to)
	to = append(to, emptyBlock[:]...)
	b := to[at:]
	copy(b, h.Name)
	octal(b[100:107], h.Mode)
	octal(b[108:115], int64(h.Uid))
	octal(b[116:123], int64(h.Gid))
	octal(b[124:135], h.Size)
	octal(b[136:147], sec)
	b[156] = h.Typeflag
	copy(b[157:], h.Linkname)
	copy(b[257:], "ustar\x0000")
	if h.Typeflag != tar.TypeXHeader {
		octal(b[329:336], h.Devmajor)
		octal(b[337:344], h.Devminor)
	}
	const sum = 148 // in which it counts as eight spaces
	total := int64(8 * ' ')
	for _, c := range b {
		total += int64(c)
	}
	octal(b[sum:sum+6], total)
	b[sum+7] = ' '
	return to
}

// octal fills b with the digits of n.
func octal(b []byte, n int64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = '0' + byte(n&7)
		n >>= 3
	}
}
