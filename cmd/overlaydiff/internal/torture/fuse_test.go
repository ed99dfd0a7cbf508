package torture_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pkg/xattr"
)

// fuseTree is a FUSE file system that shows a directory, read-only, and keeps nothing
// in the kernel's caches: whoever reads it asks this process. It fails, or does not
// answer, as it is told. The protocol is that of linux/fuse.h.
type fuseTree struct {
	at string // where it is mounted

	dir   string
	dev   int
	ended chan struct{}

	mu    sync.Mutex
	paths []string // of each node, below dir; the first is 1
	nodes map[string]uint64
	asked int       // requests since tell
	fault fuseFault // what becomes of one of them
	hit   string    // the request that the fault met
	held  uint64    // its number, while it is held; 0: none is
}

// fuseFault is what becomes of the nth request: an error, or no answer.
type fuseFault struct {
	n     int
	errno syscall.Errno // 0: it is held until it is interrupted
}

// What the kernel asks; a request without a name here is told that there is no such.
const (
	fuseLookup, fuseForget, fuseGetattr, fuseReadlink   = 1, 2, 3, 5
	fuseOpen, fuseRead, fuseStatfs, fuseRelease         = 14, 15, 17, 18
	fuseGetxattr, fuseListxattr, fuseFlush, fuseInit    = 22, 23, 25, 26
	fuseOpendir, fuseReaddir, fuseReleasedir, fuseIntr  = 27, 28, 29, 36
	fuseBatchForget                                     = 42
	fuseInHeader, fuseOutHeader, fuseAttr, fuseMaxWrite = 40, 16, 88, 128 << 10
)

var fuseNames = map[uint32]string{
	fuseLookup: "LOOKUP", fuseGetattr: "GETATTR", fuseReadlink: "READLINK", fuseOpen: "OPEN", fuseRead: "READ",
	fuseGetxattr: "GETXATTR", fuseListxattr: "LISTXATTR", fuseOpendir: "OPENDIR", fuseReaddir: "READDIR",
}

var le = binary.LittleEndian

// newFuseTree shows dir at a directory that is there.
func newFuseTree(t *testing.T, dir, at string) *fuseTree {
	t.Helper()
	dev, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("/dev/fuse: %v; the kernel has FUSE, and a container is given the device", err)
	}
	f := &fuseTree{at: at, dir: dir, dev: dev, ended: make(chan struct{}), paths: []string{"", ""}, nodes: map[string]uint64{"": 1}}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", dev)
	if err := syscall.Mount("overlaydiff", at, "fuse.torture", syscall.MS_NODEV|syscall.MS_NOSUID|syscall.MS_RDONLY, data); err != nil {
		syscall.Close(dev)
		t.Fatalf("mount FUSE on %s: %v", at, err)
	}
	go f.serve()
	t.Cleanup(func() {
		f.tell(fuseFault{})
		if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", at, err)
		}
		<-f.ended
		syscall.Close(dev)
	})
	return f
}

// tell says which of the requests to come meets a fault. What is held is let go.
func (f *fuseTree) tell(fault fuseFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.letGo(f.held)
	f.asked, f.hit, f.fault = 0, "", fault
}

// letGo answers the request of this number if it is held. The caller has the lock.
func (f *fuseTree) letGo(request uint64) {
	if f.held != 0 && f.held == request {
		f.held = 0
		f.reply(request, nil, syscall.EINTR)
	}
}

// serve answers, one request after the other, until the file system is unmounted. A
// request that is held waits for an interrupt: without one it would keep the process
// that made it from ending, whatever killed that.
func (f *fuseTree) serve() {
	defer close(f.ended)
	buf := make([]byte, fuseMaxWrite+4096)
	for {
		n, err := syscall.Read(f.dev, buf)
		switch {
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOENT): // the last: it was taken back
			continue
		case err != nil || n < fuseInHeader:
			return
		}
		op, number, node, body := le.Uint32(buf[4:]), le.Uint64(buf[8:]), le.Uint64(buf[16:]), buf[fuseInHeader:n]
		switch op {
		case fuseForget, fuseBatchForget: // no answer is wanted
		case fuseIntr:
			f.mu.Lock()
			f.letGo(le.Uint64(body))
			f.mu.Unlock()
		default:
			if errno, hold := f.meet(op, number, node, body); !hold {
				f.answer(op, number, node, body, errno)
			}
		}
	}
}

// meet returns the fault that a request meets: an error, or that it is held.
func (f *fuseTree) meet(op uint32, number, node uint64, body []byte) (errno syscall.Errno, hold bool) {
	name := fuseNames[op]
	if name == "" {
		return 0, false // a failure of these is nothing to anybody
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.asked != f.fault.n {
		return 0, false
	}
	path := f.paths[node]
	if op == fuseLookup {
		path += "/" + cString(body)
	}
	f.hit = name + " " + strings.TrimPrefix(path, "/")
	if f.fault.errno == 0 {
		f.held = number
		return 0, true
	}
	return f.fault.errno, false
}

// requests returns how many there were, and which the fault met.
func (f *fuseTree) requests() (asked int, hit string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked, f.hit
}

// answer answers a request, with an error or as it should be.
func (f *fuseTree) answer(op uint32, number, node uint64, body []byte, errno syscall.Errno) {
	var out []byte
	if errno == 0 {
		var err error
		if out, err = f.do(op, node, body); err != nil {
			out, errno = nil, syscall.EIO // whatever has no number
			errors.As(err, &errno)
		}
	}
	f.reply(number, out, errno)
}

func (f *fuseTree) reply(number uint64, body []byte, errno syscall.Errno) {
	out := le.AppendUint32(nil, uint32(fuseOutHeader+len(body)))
	out = le.AppendUint32(out, uint32(-int32(errno)))
	out = le.AppendUint64(out, number)
	_, _ = syscall.Write(f.dev, append(out, body...)) // ENOENT: nobody waits any more
}

// do does what a request asks for and returns the answer to it.
func (f *fuseTree) do(op uint32, node uint64, in []byte) ([]byte, error) {
	f.mu.Lock()
	path := f.paths[node]
	f.mu.Unlock()
	file := filepath.Join(f.dir, path)
	switch op {
	case fuseInit:
		out := make([]byte, 64)
		le.PutUint32(out, 7)
		le.PutUint32(out[4:], 31)
		copy(out[8:12], in[8:12]) // as much read ahead as it likes
		le.PutUint32(out[20:], fuseMaxWrite)
		return out, nil
	case fuseLookup:
		child := path + "/" + cString(in)
		attr, err := attributes(filepath.Join(f.dir, child))
		out := make([]byte, 40, 40+fuseAttr)
		le.PutUint64(out, f.node(child))
		return append(out, attr...), err
	case fuseGetattr:
		attr, err := attributes(file)
		return append(make([]byte, 16, 16+fuseAttr), attr...), err
	case fuseReadlink:
		to, err := os.Readlink(file)
		return []byte(to), err
	case fuseOpen, fuseOpendir:
		return make([]byte, 16), nil
	case fuseRead:
		return readAt(file, int64(le.Uint64(in[8:])), int(le.Uint32(in[16:])))
	case fuseReaddir:
		return entriesAt(file, int(le.Uint64(in[8:])), int(le.Uint32(in[16:])))
	case fuseGetxattr:
		value, err := xattr.LGet(file, cString(in[8:]))
		return valueOrSize(in, value, err)
	case fuseListxattr:
		names, err := xattr.LList(file)
		return valueOrSize(in, []byte(strings.Join(append(names, ""), "\x00")), err)
	case fuseStatfs:
		out := make([]byte, 80)
		le.PutUint32(out[40:], 4096) // the size of blocks
		le.PutUint32(out[44:], 255)  // the length of names
		return out, nil
	case fuseFlush, fuseRelease, fuseReleasedir:
		return nil, nil
	}
	return nil, syscall.ENOSYS
}

// node returns a path's number.
func (f *fuseTree) node(path string) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.nodes[path]
	if !ok {
		f.paths = append(f.paths, path)
		n = uint64(len(f.paths) - 1)
		f.nodes[path] = n
	}
	return n
}

// valueOrSize answers with a value, or with its size if that is what is asked for.
func valueOrSize(in, value []byte, err error) ([]byte, error) {
	switch room := int(le.Uint32(in)); {
	case err != nil:
		return nil, err
	case room == 0:
		return le.AppendUint64(nil, uint64(len(value))), nil
	case room < len(value):
		return nil, syscall.ERANGE
	}
	return value, nil
}

func attributes(path string) ([]byte, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return nil, err
	}
	var b []byte
	for _, v := range []uint64{st.Ino, uint64(st.Size), uint64(st.Blocks), uint64(st.Atim.Sec), uint64(st.Mtim.Sec), uint64(st.Ctim.Sec)} {
		b = le.AppendUint64(b, v)
	}
	for _, v := range []uint32{uint32(st.Atim.Nsec), uint32(st.Mtim.Nsec), uint32(st.Ctim.Nsec), st.Mode, uint32(st.Nlink), st.Uid, st.Gid, uint32(st.Rdev), 4096, 0} {
		b = le.AppendUint32(b, v)
	}
	return b, nil
}

func readAt(path string, offset int64, size int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b := make([]byte, size)
	n, err := syscall.Pread(int(file.Fd()), b, offset)
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

// entriesAt lists a directory from its nth entry on, as many as there is room for.
func entriesAt(dir string, n, room int) ([]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var b []byte
	for i := n; i < len(entries); i++ {
		name := entries[i].Name()
		if len(b)+24+len(name)+8 > room {
			break
		}
		b = le.AppendUint64(b, 1) // who wants the number asks for the attributes
		b = le.AppendUint64(b, uint64(i+1))
		b = le.AppendUint32(b, uint32(len(name)))
		b = le.AppendUint32(b, kindOf(entries[i].Type())) // by it overlayfs knows what may be a whiteout
		b = append(b, name...)
		b = append(b, make([]byte, -len(name)&7)...)
	}
	return b, nil
}

// kindOf returns a type as directories have it.
func kindOf(mode fs.FileMode) uint32 {
	switch mode.Type() {
	case fs.ModeDir:
		return syscall.DT_DIR
	case fs.ModeSymlink:
		return syscall.DT_LNK
	case fs.ModeDevice | fs.ModeCharDevice:
		return syscall.DT_CHR
	case 0:
		return syscall.DT_REG
	}
	return syscall.DT_UNKNOWN
}

func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}
