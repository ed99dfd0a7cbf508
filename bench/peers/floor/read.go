package floor

import (
	"syscall"
	"unsafe"
)

// Read reads a tree as if to make a layer of it: it opens each file, asks what
// it is, and reads it whole. Of several names of a file, the first.
func Read(dir string, threads int) (Total, error) { return walk(dir, nil, threads, true) }

const fileFlags = syscall.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_CLOEXEC

// readFile counts a file and reads its content.
func (w *worker) readFile(dir int, name *byte) error {
	fd, errno := openAt(dir, name, fileFlags)
	if errno != 0 {
		return errno
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return err
	}
	w.total.Entries++
	if st.Nlink > 1 && !w.linked.first(st.Ino) {
		return nil
	}
	w.total.Inodes++
	w.total.Disk += st.Blocks * 512
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(w.content)), bufferSize)
		if errno != 0 {
			return errno
		}
		if n == 0 {
			return nil
		}
		w.total.Bytes += int64(n)
	}
}
