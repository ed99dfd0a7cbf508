package sys

import (
	"syscall"
	"unsafe"
)

// fiemapExtent is struct fiemap_extent.
type fiemapExtent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// fiemap is struct fiemap with room for some extents.
type fiemap struct {
	start, length        uint64
	flags, mapped, count uint32
	_                    uint32
	extents              [32]fiemapExtent
}

// Flags of an extent.
const (
	extentLast   = 0x1
	extentMerged = 0x1000
	extentShared = 0x2000
	// What an address does not say all about: unknown, not yet allocated,
	// compressed, encrypted, packed with others or inline.
	extentVague = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400
)

// SameExtents reports whether two files of one file system have their data in
// the same blocks, as after a reflink copy. False says nothing.
//
// What was written to either and not yet allocated is written out first.
func SameExtents(a, b int) bool {
	var ma, mb fiemap
	for next := uint64(0); ; {
		if !extents(a, next, &ma) || !extents(b, next, &mb) || ma.mapped != mb.mapped {
			return false
		}
		if ma.mapped == 0 {
			return next > 0 && sameDevice(a, b) // a file without extents may have its data elsewhere
		}
		for i := range ma.mapped {
			x, y := &ma.extents[i], &mb.extents[i]
			const ignored = extentLast | extentMerged | extentShared
			if x.flags&extentVague != 0 || x.flags&^ignored != y.flags&^ignored ||
				x.logical != y.logical || x.physical != y.physical || x.length != y.length {
				return false
			}
			next = x.logical + x.length
			if x.flags&extentLast != 0 {
				return y.flags&extentLast != 0 && sameDevice(a, b)
			}
		}
	}
}

func extents(fd int, start uint64, m *fiemap) bool {
	const flush = 1 // FIEMAP_FLAG_SYNC
	*m = fiemap{start: start, length: ^uint64(0) - start, flags: flush, count: uint32(len(m.extents))}
	return ioctl(fd, getExtents, unsafe.Pointer(m)) == 0
}

// sameDevice reports whether both files have their data on the same device of
// their file system: xfs may have two, with the same block numbers.
func sameDevice(a, b int) bool {
	const realtime = 1 // FS_XFLAG_REALTIME
	var xa, xb struct {
		flags uint32
		_     [24]byte
	}
	for fd, x := range map[int]unsafe.Pointer{a: unsafe.Pointer(&xa), b: unsafe.Pointer(&xb)} {
		switch ioctl(fd, getXFlags, x) {
		case 0, syscall.ENOTTY, syscall.EOPNOTSUPP:
		default:
			return false
		}
	}
	return xa.flags&realtime == xb.flags&realtime
}
