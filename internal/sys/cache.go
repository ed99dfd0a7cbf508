package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Guest leaves the page cache about as it was when a large file is read from its
// start to its end: the parts of which nothing was there are dropped again. What is
// cached it asks before anything is read: the kernel reads megabytes ahead, and
// could not be told from others. A nil Guest does nothing.
type Guest struct {
	fd     int
	part   int64  // the size of each
	cached uint64 // a bit a part
	at     int64  // the part that is read
}

// Parts of a file: no folio of the page cache is larger than the least. The first
// pages stand for all of a part.
const (
	maxParts = 64
	minPart  = 4 << 20
	sample   = 64 << 10
)

// NewGuest begins at the start of a file.
func NewGuest(fd int, size int64) *Guest {
	g := &Guest{fd: fd, part: (size/maxParts/minPart + 1) * minPart}
	for i := int64(0); i < maxParts && i*g.part < size; i++ {
		n, err := resident(fd, i*g.part, min(size-i*g.part, sample))
		if n > 0 || err != nil {
			g.cached |= 1 << i
		}
	}
	return g
}

// Read is called before each read, at an offset that is not less than the last.
func (g *Guest) Read(off int64) {
	if g != nil {
		g.drop(off / g.part)
	}
}

// Close drops what was read last, and what the kernel has read ahead.
func (g *Guest) Close() {
	if g != nil {
		g.drop(maxParts)
	}
}

// drop drops the parts before one, as far as they were not cached.
func (g *Guest) drop(before int64) {
	for ; g.at < min(before, maxParts); g.at++ {
		if g.cached>>g.at&1 == 0 {
			_ = unix.Fadvise(g.fd, g.at*g.part, g.part, unix.FADV_DONTNEED) // an advice
		}
	}
}

// Evict drops the clean pages of a file from the page cache, and stops reading ahead for fd.
func Evict(fd int) error {
	for _, advice := range []int{unix.FADV_DONTNEED, unix.FADV_RANDOM} {
		if err := unix.Fadvise(fd, 0, 0, advice); err != nil {
			return err
		}
	}
	return nil
}

// Resident returns how many bytes of a file are in the page cache, in whole
// pages. To a caller who may not know, it is all of it.
func Resident(fd int, size int64) (n int64, err error) {
	for off := int64(0); off < size; off += sample {
		m, err := resident(fd, off, min(size-off, sample))
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// resident is [Resident] of one sample at most. It maps that and never touches it,
// so that it does not matter if the file gets shorter. Of a file on an overlay, the
// mapping is of the file beneath; cachestat would look at the one on top.
func resident(fd int, off, n int64) (int64, error) {
	m, err := unix.Mmap(fd, off, int(n), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Munmap(m) }() // it was just mapped
	page := unix.Getpagesize()
	var pages [sample / 4096]byte
	_, _, errno := syscall.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&pages)))
	if errno != 0 {
		return 0, errno
	}
	total := int64(0)
	for _, p := range pages[:(len(m)+page-1)/page] {
		total += int64(p&1) * int64(page)
	}
	return total, nil
}
