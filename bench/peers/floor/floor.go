// Package floor is the limit that measurements are compared with: the system
// calls that a task takes, and as little as can be beside them. It lists
// directories with getdents64 into a large buffer and calls fstatat for each
// name, relative to the directory's descriptor, without telling Go's scheduler.
// Nothing is sorted or kept; it has no care for races or for markers.
//
// Each thread is one of the system's, locked to its goroutine; one that has
// nothing to do takes directories from a queue that the others fill.
package floor

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Total is what the calls said.
type Total struct {
	Entries int64 // names, without the root
	Bytes   int64 // of what is no directory, every inode once
	Disk    int64 // allocated, every inode once
	Inodes  int64
}

// Usage reads a tree as if to measure it, with so many threads.
func Usage(dir string, threads int) (Total, error) { return walk(dir, nil, threads, false) }

// Changes reads an upper directory as if to list its changes: it looks at each
// name there, and in the lower layers, topmost first, until one has it.
func Changes(upper string, lower []string, threads int) (Total, error) {
	return walk(upper, lower, threads, false)
}

// job is an open directory, and those of the lower layers that have its name.
type job struct {
	fd    int
	lower []int
}

// queue is what idle threads wait at. The others keep the directories that they
// find, and put one there only if somebody waits: handing over costs more than
// reading a small directory.
type queue struct {
	sync.Mutex
	more    sync.Cond
	jobs    []job
	threads int
	idle    atomic.Int32
	err     error
}

// take waits for a directory; false if no thread has any.
func (q *queue) take() (job, bool) {
	q.Lock()
	defer q.Unlock()
	if int(q.idle.Add(1)) == q.threads && len(q.jobs) == 0 {
		q.more.Broadcast()
		return job{}, false
	}
	for len(q.jobs) == 0 {
		q.more.Wait()
		if int(q.idle.Load()) == q.threads && len(q.jobs) == 0 {
			return job{}, false
		}
	}
	last := len(q.jobs) - 1
	j := q.jobs[last]
	q.jobs = q.jobs[:last]
	q.idle.Add(-1)
	return j, true
}

func (q *queue) give(j job) {
	q.Lock()
	q.jobs = append(q.jobs, j)
	q.more.Signal()
	q.Unlock()
}

func walk(dir string, lower []string, threads int, contents bool) (Total, error) {
	q := &queue{threads: threads}
	q.more.L = &q.Mutex
	first := job{}
	for i, path := range append([]string{dir}, lower...) {
		fd, err := syscall.Open(path, dirFlags, 0)
		if err != nil {
			closeAll(first)
			return Total{}, &fsError{"open", path, err}
		}
		if i == 0 {
			first.fd = fd
		} else {
			first.lower = append(first.lower, fd)
		}
	}
	q.jobs = []job{first}
	workers, linked := make([]worker, threads), &links{seen: map[uint64]bool{}}
	var wg sync.WaitGroup
	for i := range workers {
		workers[i].queue, workers[i].linked, workers[i].reads = q, linked, contents
		if i > 0 {
			wg.Go(workers[i].work)
		}
	}
	workers[0].work()
	wg.Wait()
	total := workers[0].total
	for _, w := range workers[1:] {
		total.Entries += w.total.Entries
		total.Bytes += w.total.Bytes
		total.Disk += w.total.Disk
		total.Inodes += w.total.Inodes
	}
	var root syscall.Stat_t // counted, though no directory names it
	if err := syscall.Lstat(dir, &root); err != nil {
		return total, err
	}
	total.Disk += root.Blocks * 512
	total.Inodes++
	return total, q.err
}

type fsError struct {
	op, path string
	err      error
}

func (e *fsError) Error() string { return e.op + " " + e.path + ": " + e.err.Error() }
func (e *fsError) Unwrap() error { return e.err }

// links are the inodes with several names that were seen.
type links struct {
	sync.Mutex
	seen map[uint64]bool
}

func (l *links) first(ino uint64) bool {
	l.Lock()
	defer l.Unlock()
	again := l.seen[ino]
	l.seen[ino] = true
	return !again
}

type worker struct {
	queue  *queue
	own    []job
	linked *links
	total  Total
	buffer *[bufferSize]byte
	reads  bool // the content of files, too

	content *[bufferSize]byte
	_       [64]byte // no two workers count in one cache line
}

const bufferSize = 128 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func (w *worker) work() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w.buffer, _ = buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(w.buffer)
	if w.reads {
		w.content, _ = buffers.Get().(*[bufferSize]byte)
		defer buffers.Put(w.content)
	}
	for {
		var j job
		if last := len(w.own) - 1; last >= 0 { // the newest, so that few are open
			j, w.own = w.own[last], w.own[:last]
		} else if taken, ok := w.queue.take(); ok {
			j = taken
		} else {
			return
		}
		if err := w.read(j); err != nil {
			w.queue.Lock()
			w.queue.err = errors.Join(w.queue.err, err)
			w.queue.Unlock()
		}
		closeAll(j)
	}
}

// push keeps a directory, or gives away the oldest, which has most below it.
func (w *worker) push(j job) {
	w.own = append(w.own, j)
	if len(w.own) > 1 && w.queue.idle.Load() > 0 {
		w.queue.give(w.own[0])
		w.own = w.own[1:]
	}
}

func closeAll(j job) {
	_ = syscall.Close(j.fd)
	for _, fd := range j.lower {
		_ = syscall.Close(fd)
	}
}

const dirFlags = syscall.O_RDONLY | syscall.O_DIRECTORY | syscall.O_NOFOLLOW | syscall.O_CLOEXEC

// read lists one directory and looks at each of its names.
func (w *worker) read(j job) error {
	const (
		header   = 19 // of struct linux_dirent64, before the name
		reclen   = 16
		typ      = 18
		typeDir  = 4
		typeFile = 8
	)
	b := w.buffer
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_GETDENTS64, uintptr(j.fd), uintptr(unsafe.Pointer(b)), bufferSize)
		if errno != 0 {
			return errno
		}
		if n == 0 {
			return nil
		}
		for at := 0; at < int(n); {
			next := at + int(b[at+reclen]) + int(b[at+reclen+1])<<8
			name := &b[at+header] // the kernel ends names with a NUL
			isDir, isFile := b[at+typ] == typeDir, b[at+typ] == typeFile
			dots := *name == '.' && (b[at+header+1] == 0 || b[at+header+1] == '.' && b[at+header+2] == 0)
			at = next
			if dots {
				continue
			}
			var err error
			if isFile && w.reads {
				err = w.readFile(j.fd, name)
			} else {
				err = w.look(j, name, isDir)
			}
			if err != nil {
				return err
			}
		}
	}
}

// look asks for one name, and in the lower layers until one has it.
func (w *worker) look(j job, name *byte, isDir bool) error {
	var st syscall.Stat_t
	if errno := statAt(j.fd, name, &st); errno != 0 {
		return errno
	}
	w.total.Entries++
	isDir = isDir || st.Mode&syscall.S_IFMT == syscall.S_IFDIR
	if isDir || st.Nlink == 1 || w.linked.first(st.Ino) {
		w.total.Inodes++
		w.total.Disk += st.Blocks * 512
		if !isDir {
			w.total.Bytes += st.Size
		}
	}
	var below syscall.Stat_t
	for _, fd := range j.lower {
		if statAt(fd, name, &below) == 0 {
			break
		}
	}
	if !isDir {
		return nil
	}
	child := job{}
	fd, errno := openAt(j.fd, name, dirFlags)
	if errno != 0 {
		return errno
	}
	child.fd = fd
	for _, fd := range j.lower {
		if fd, errno := openAt(fd, name, dirFlags); errno == 0 {
			child.lower = append(child.lower, fd)
		}
	}
	w.push(child)
	return nil
}

func statAt(dir int, name *byte, st *syscall.Stat_t) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(sysFstatat, uintptr(dir), uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(st)), atSymlinkNofollow, 0, 0)
	return errno
}

func openAt(dir int, name *byte, flags uintptr) (int, syscall.Errno) {
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(name)), flags, 0, 0, 0)
	return int(fd), errno
}

const atSymlinkNofollow = 0x100
