package fswalk

import (
	"strings"
	"sync"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// DefaultDescriptors is how many directories a pool keeps open at most if it is
// not told otherwise.
const DefaultDescriptors = 256

// Pool hands out descriptors of directories and keeps at most a set number
// open. When one more is needed it closes the one that was unused longest;
// if all are in use it goes over. When the process has no descriptors left it
// keeps fewer from then on. Safe for concurrent use.
type Pool struct {
	mu    sync.Mutex
	limit int
	open  int
	idle  Dir // ring of open directories that nobody uses, longest unused first
}

// NewPool returns a pool that keeps limit descriptors open, roots not counted;
// 0 means [DefaultDescriptors], or a quarter of what the process may have if
// that is less: the roots, files that are read and the rest of the process need
// some, too.
func NewPool(limit int) *Pool {
	if limit <= 0 {
		limit = DefaultDescriptors
		var allowed syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &allowed); err == nil {
			limit = int(max(1, min(uint64(limit), allowed.Cur/4)))
		}
	}
	p := &Pool{limit: limit}
	p.idle.prev, p.idle.next = &p.idle, &p.idle
	return p
}

// Root returns a root of the pool: the directory that is open as fd, which
// stays the caller's. display names it in errors.
func (p *Pool) Root(fd int, display string) *Dir {
	d := &Dir{pool: p, name: strings.TrimSuffix(display, "/"), fd: fd}
	d.users.Store(1)
	return d
}

// Close closes all descriptors that the pool opened. No Dir of the pool may be
// in use then or be used afterwards.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for fd := p.evict(); fd >= 0; fd = p.evict() {
		sys.Close(fd)
	}
}

// add pins d with its descriptor fd and returns a descriptor that is to be
// closed, -1 if none.
func (p *Pool) add(d *Dir, fd int) (spare int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.fd >= 0 { // another goroutine was faster
		d.pinOpen()
		return fd
	}
	spare = -1
	if p.open >= p.limit {
		spare = p.evict()
	}
	p.open++
	d.fd, d.known, d.moved = fd, true, false
	d.users.Store(1)
	return spare
}

// drop is the inverse of a pin; it returns a descriptor that is to be closed, -1
// if none.
func (p *Pool) drop(d *Dir, first bool) (spare int) {
	for n := d.users.Load(); n > 1; n = d.users.Load() {
		if d.users.CompareAndSwap(n, n-1) {
			return -1
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.users.Add(-1) > 0 {
		return -1
	}
	d.prev, d.next = p.idle.prev, &p.idle
	if first {
		d.prev, d.next = &p.idle, p.idle.next
	}
	d.prev.next, d.next.prev = d, d
	if p.open > p.limit {
		return p.evict()
	}
	return -1
}

// GiveWay closes some of the pool's directories, because the process has no more
// descriptors, and returns false if there are none to close.
func (d *Dir) GiveWay() bool { return d.pool.shrink() }

// shrink keeps half as many directories open as now, for good, and returns
// false if that frees no descriptor.
func (p *Pool) shrink() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	freed := false
	for p.limit = p.open / 2; p.open > p.limit; freed = true {
		spare := p.evict()
		if spare < 0 {
			break
		}
		sys.Close(spare)
	}
	return freed
}

// forget closes d, which nobody uses any more.
func (p *Pool) forget(d *Dir) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.fd >= 0 {
		d.unlink()
		sys.Close(d.fd)
		d.fd = -1
		p.open--
	}
}

// evict takes the directory that was unused longest out of the pool and returns
// its descriptor, -1 if all are in use. The pool is locked.
func (p *Pool) evict() (fd int) {
	d := p.idle.next
	if d == &p.idle {
		return -1
	}
	d.unlink()
	fd, d.fd = d.fd, -1
	p.open--
	return fd
}

func (d *Dir) unlink() {
	d.prev.next, d.next.prev = d.next, d.prev
	d.prev, d.next = nil, nil
}
