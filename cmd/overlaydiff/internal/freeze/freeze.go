//go:build linux

package freeze

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Target names the processes to freeze.
type Target struct {
	Root string // directory that is the root of the node
	PID  int    // a process of the container
	ID   string // of the container, "" if it has none
}

// Pause is a container that stands still. Its methods are for one goroutine.
type Pause struct {
	group   *held
	before  bool
	guard   *exec.Cmd
	release io.Closer
	answers *bufio.Scanner
	ctx     context.Context
	cancel  context.CancelFunc
	limit   time.Duration
}

// Report says how long a container stood still.
type Report struct {
	Frozen time.Duration
	// Before says that the container was paused before. It still is.
	Before bool
}

// LimitError says that a container was thawed before all was read.
type LimitError struct{ Limit time.Duration }

func (e *LimitError) Error() string {
	return fmt.Sprintf("read the frozen container: it was thawed after %v, the limit, so that what was read is no point-in-time; allow more time", e.Limit)
}

// Start freezes the processes of t and returns when all of them stand still. They are thawed by
// Thaw, when this process ends in whatever way, and at the latest after limit. An error that is
// [github.com/overlaydiff/overlaydiff/diff.ErrUnsupported] says why they can't be frozen; then
// nothing is.
func Start(ctx context.Context, t Target, limit time.Duration) (*Pause, error) {
	h, err := find(t)
	if err != nil {
		return nil, err
	}
	if err := h.check(t.PID); err != nil {
		h.dir.Close()
		return nil, err
	}
	p := &Pause{group: h, limit: limit, cancel: func() {}}
	if p.before, err = h.frozen(); err == nil {
		err = p.start()
	}
	if err != nil {
		h.dir.Close()
		return nil, h.refuse("the guard, which is to thaw it, does not start: %w", err)
	}
	word, rest := p.await(ctx)
	p.ctx, p.cancel = context.WithTimeout(ctx, limit) // after the guard's own, which is the one that counts
	switch word {
	case sayFrozen, sayBefore:
		p.before = word == sayBefore
		err = h.check(t.PID) // of those that were made in the meantime
	case sayFailed:
		err = h.refuse("%s", rest)
	default:
		err = errors.Join(ctx.Err(), h.refuse("the guard, which is to thaw it, was killed: try again"))
	}
	if err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// start starts the guard.
func (p *Pause) start() error {
	version := "1"
	if p.group.V2 {
		version = "2"
	}
	p.guard = exec.Command("/proc/self/exe")
	p.guard.Args = []string{guardName, version, p.limit.String()}
	p.guard.ExtraFiles = []*os.File{p.group.dir}
	// A session of its own: what ends all of ours, a terminal or kill -9 of the group, spares it.
	p.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := p.guard.StdinPipe()
	if err != nil {
		return err
	}
	p.release = in
	out, err := p.guard.StdoutPipe()
	if err != nil {
		in.Close()
		return err
	}
	p.answers = bufio.NewScanner(out)
	return p.guard.Start()
}

// await returns what the guard says next. If ctx ends first, the guard gives up.
func (p *Pause) await(ctx context.Context) (word, rest string) {
	stop := context.AfterFunc(ctx, func() { p.release.Close() })
	defer stop()
	if !p.answers.Scan() {
		return "", ""
	}
	word, rest, _ = strings.Cut(p.answers.Text(), " ")
	return word, rest
}

// Context ends when the context of Start does, and when the time is over.
func (p *Pause) Context() context.Context { return p.ctx }

// Thaw lets the processes go on, if they were not paused before, and says how long they stood
// still. An error says that they did not all the time until now: a [LimitError] if the time was
// over, another if somebody else thawed them or killed the guard.
func (p *Pause) Thaw() (Report, error) {
	p.release.Close()
	word, rest := p.await(context.Background())
	defer p.end()
	r := Report{Before: p.before}
	ns, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case word == sayLimit, word == sayThawed && errors.Is(p.ctx.Err(), context.DeadlineExceeded):
		return r, &LimitError{p.limit}
	case word == sayThawed && err == nil:
		r.Frozen = time.Duration(ns)
		return r, nil
	case word == sayLost:
		return r, fmt.Errorf("read the frozen container: somebody else thawed %v meanwhile, so that what was read is no point-in-time; try again", p.group)
	}
	return r, fmt.Errorf("read the frozen container: its guard failed (%s), so that whether %v was frozen all the time is not known; see that it is thawed, and try again", rest, p.group)
}

// end lets the guard thaw the group and waits for it. If the guard did not, this process does.
func (p *Pause) end() {
	p.release.Close()
	p.cancel()
	for p.answers.Scan() {
	}
	if err := p.guard.Wait(); err != nil && !p.before {
		_ = p.group.thaw()
	}
	p.group.dir.Close()
}
