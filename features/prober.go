package features

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// Prober asks and remembers answers. The zero value is ready for use; it is
// safe for concurrent use. A program that asks more than once keeps one.
type Prober struct {
	mu    sync.Mutex
	known map[key]Result
}

// key has what an answer depends on.
type key struct {
	name   string
	opts   string
	dir    dirKey // zero for what depends on the kernel only
	userns uint64 // the user namespace's inode number
	params mountutil.Defaults
}

// dirKey identifies a directory and the mount through which it is seen.
type dirKey struct{ dev, ino, mount uint64 }

// keyOf returns the key of p's answer in a session. here is what the answers of
// the directory depend on.
func (p *probe) keyOf(here key) key {
	switch p.depends {
	case onKernel:
		here = key{}
	case onProcess:
		here = key{userns: here.userns}
	}
	here.name, here.opts = p.name, p.options
	return here
}

// dirKeyOf identifies a directory as the caller sees it: in another mount
// namespace it would be on another mount.
func dirKeyOf(dir *os.File) dirKey {
	var st unix.Statx_t
	if err := unix.Statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return dirKey{}
	}
	return dirKey{uint64(st.Dev_major)<<32 | uint64(st.Dev_minor), st.Ino, st.Mnt_id}
}

// usernsID identifies the user namespace of this process.
func usernsID() uint64 {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &st); err != nil {
		return 0
	}
	return st.Ino
}

// Have asks one question, see [Names], about dir. See the package's
// documentation for what the error says; one that matches neither nil nor
// [diff.ErrUnsupported] is also returned if there is no such question, if dir
// can't be opened, or if ctx ends.
func (p *Prober) Have(ctx context.Context, dir, name string) error {
	results, err := p.ask(ctx, dir, []string{name})
	if err != nil {
		return err
	}
	return results[0].Err()
}

// Ask asks the named questions about dir, or all if there is no name, and
// returns the answers in that order. The error is nil even if every answer is
// no: it says that dir can't be opened, a name is unknown, something could not
// be taken away again, or ctx ended.
func (p *Prober) Ask(ctx context.Context, dir string, names ...string) ([]Result, error) {
	if len(names) == 0 {
		names = Names()
	}
	return p.ask(ctx, dir, names)
}

func (p *Prober) ask(ctx context.Context, dir string, names []string) (results []Result, err error) {
	wanted := make([]*probe, len(names))
	for i, name := range names {
		if wanted[i] = probeOf(name); wanted[i] == nil {
			return nil, fmt.Errorf("probe %q: there is no such question; features.Names lists them", name)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = privately(dir, func(s *session) error {
		if slices.ContainsFunc(wanted, func(w *probe) bool { return w.group == groupUserns || slices.Contains(w.needs, "userns_create") }) {
			s.userns.start(ctx, s) // works while others are asked
		}
		answered := map[string]Result{}
		for _, w := range wanted {
			results = append(results, p.one(ctx, s, w, answered))
		}
		return ctx.Err()
	})
	return results, err
}

// privately calls work with a session in a mount namespace of its own, if there
// can be one, and takes the session's traces away. That is done from outside:
// inside, what is removed may be mounted on.
func privately(dir string, work func(*session) error) (err error) {
	outside, err := openDir(dir)
	if err != nil {
		return err
	}
	s := &session{outside: outside, here: key{
		dir: dirKeyOf(outside), userns: usernsID(), params: mountutil.KernelDefaults(),
	}}
	defer func() { err = errors.Join(err, s.close()) }()
	run := func(private bool) error {
		s.private = private
		if err := s.open(dir); err != nil {
			return err
		}
		return work(s)
	}
	called := false
	err = mounting.InOwnNamespace("probe", func() error { called = true; return run(true) })
	if !called {
		return run(false)
	}
	return err
}

// one answers one question, and before it those that it needs.
func (p *Prober) one(ctx context.Context, s *session, w *probe, answered map[string]Result) Result {
	if r, ok := answered[w.name]; ok {
		return r
	}
	k := w.keyOf(s.here)
	p.mu.Lock()
	r, ok := p.known[k]
	p.mu.Unlock()
	if !ok {
		for _, need := range w.needs {
			p.one(ctx, s, probeOf(need), answered)
		}
		r = s.ask(ctx, w, answered)
		if r.Answer != Unknown && !r.volatile {
			p.mu.Lock()
			if p.known == nil {
				p.known = map[key]Result{}
			}
			p.known[k] = r
			p.mu.Unlock()
		}
	}
	answered[w.name] = r
	return r
}
