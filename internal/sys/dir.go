package sys

import (
	"encoding/binary"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Dirent is one entry of a directory.
type Dirent struct {
	Name string
	Ino  uint64 // on an overlay or a mount point not always the one that stat tells
	Type uint8  // DT_*; TypeUnknown where the file system doesn't say
}

// Directory entry types that callers ask for.
const (
	TypeUnknown = unix.DT_UNKNOWN
	TypeDir     = unix.DT_DIR
)

const (
	direntSize = 19        // before the name: ino, off, reclen, type
	bufferSize = 128 << 10 // few calls even for large directories
)

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// Rewind makes the next [ReadDir] of fd begin at the beginning.
func Rewind(fd int) error {
	_, err := unix.Seek(fd, 0, unix.SEEK_SET)
	return err
}

// ReadDir calls visit with every entry of the directory fd but "." and "..",
// from where the descriptor's offset is, in the order of the file system. The
// name is valid only during the call. A visit that returns false ends the
// listing. Two listings of one descriptor must not overlap.
func ReadDir(fd int, visit func(d Dirent) bool) error {
	b, _ := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for {
		n, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
			return syscall.Syscall(unix.SYS_GETDENTS64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(*b))), uintptr(len(*b)))
		})
		switch {
		case errno != 0:
			return errno
		case n == 0:
			return nil
		}
		if !parseDirents((*b)[:n], visit) {
			return nil
		}
	}
}

// parseDirents walks the records of one getdents64 call; records that claim to
// be longer than the buffer end it. Entries with inode 0 are kept: on Linux
// they exist. It returns false if visit did.
func parseDirents(b []byte, visit func(d Dirent) bool) bool {
	for len(b) > direntSize {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= direntSize || size > len(b) {
			return true
		}
		raw := b[direntSize:size]
		// The buffer is not written to while visit runs, and visit's contract
		// is not to keep the string.
		name := unsafe.String(unsafe.SliceData(raw), len(raw))
		if end := strings.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		if name != "." && name != ".." && name != "" && !visit(Dirent{name, binary.NativeEndian.Uint64(b), b[18]}) {
			return false
		}
		b = b[size:]
	}
	return true
}
