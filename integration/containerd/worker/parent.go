//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/proxy"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/overlaydiff/overlaydiff/integration/containerd/differ"
)

const (
	// verdictWithin is how long after its connection broke a killed worker is gone: the
	// kernel closes files last.
	verdictWithin = time.Second
	// endWithin is what a worker gets to give up what it does.
	endWithin = 15 * time.Second
)

// Service is what a worker does.
type Service interface {
	diff.Comparer
	diff.Applier
}

// Parent is a differ whose work a worker does. It is safe for concurrent use.
type Parent struct {
	command func() *exec.Cmd
	release func(ctx context.Context, ref string) error

	mu      sync.Mutex
	current *process
	closed  bool
}

var _ Service = (*Parent)(nil)

// New returns a parent. The command is that of a worker, which calls Serve with the
// first of its extra files, descriptor 3. release takes back what a worker that was
// killed had uploaded under a reference, and returns when the reference is free.
func New(command func() *exec.Cmd, release func(ctx context.Context, ref string) error) *Parent {
	return &Parent{command: command, release: release}
}

// Compare has the worker compare. If the worker ends over it, nothing is left in
// the content store, and the error is an errdefs.ErrNotImplemented.
func (p *Parent) Compare(ctx context.Context, lower, upper []mount.Mount, opts ...diff.Opt) (ocispec.Descriptor, error) {
	var config diff.Config
	for _, opt := range opts {
		if err := opt(&config); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	if config.Reference == "" { // so that it is known if the worker does not come back
		config.Reference = differ.NewReference()
		opts = append(opts[:len(opts):len(opts)], diff.WithReference(config.Reference))
	}
	w, err := p.worker()
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%w: %w", err, errdefs.ErrNotImplemented)
	}
	desc, err := w.differ.Compare(ctx, lower, upper, opts...)
	if err == nil || !w.endedOver(ctx, err) {
		return desc, err
	}
	if err := p.release(context.WithoutCancel(ctx), config.Reference); err != nil {
		return desc, fmt.Errorf("take back what the worker had uploaded as %s: %w", config.Reference, err)
	}
	return desc, fmt.Errorf("the worker ended while it compared (%s): %w", w.cmd.ProcessState, errdefs.ErrNotImplemented)
}

// Apply has the worker apply a layer. If the worker ends over it, the snapshot may
// have a part of the layer: the error says so, and the caller makes a new one.
func (p *Parent) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	w, err := p.worker()
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%w: %w", err, errdefs.ErrNotImplemented)
	}
	applied, err := w.differ.Apply(ctx, desc, mounts, opts...)
	if err != nil && w.endedOver(ctx, err) {
		err = fmt.Errorf("the worker ended while it applied the layer %s (%s), and left a part: remove the snapshot and try again: %w", desc.Digest, w.cmd.ProcessState, errdefs.ErrUnavailable)
	}
	return applied, err
}

// Close ends the worker. What it is doing it gives up, and no other is started.
func (p *Parent) Close() error {
	p.mu.Lock()
	w := p.current
	p.closed, p.current = true, nil
	p.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.end()
}

// worker returns the running worker, a new one if there is none.
func (p *Parent) worker() (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("the differ is shutting down")
	}
	if p.current == nil || p.current.gone() {
		w, err := start(p.command())
		if err != nil {
			return nil, fmt.Errorf("start a worker: %w", err)
		}
		p.current = w
	}
	return p.current, nil
}

// process is a worker.
type process struct {
	cmd    *exec.Cmd
	conn   *grpc.ClientConn
	socket net.Conn
	differ Service
	done   chan struct{} // closed when it has ended
}

// start starts a worker.
func start(cmd *exec.Cmd) (*process, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	conn, err := connect(ours)
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, conn.Close(), ours.Close())
	}
	w := &process{cmd: cmd, conn: conn, socket: ours, done: make(chan struct{})}
	w.differ = proxy.NewDiffApplier(diffapi.NewDiffClient(conn)).(Service)
	go func() {
		_ = cmd.Wait() // cmd.ProcessState has it
		close(w.done)
		w.disconnect()
	}()
	return w, nil
}

func (w *process) gone() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// endedOver reports whether a call failed because the worker has ended.
func (w *process) endedOver(ctx context.Context, err error) bool {
	wait := verdictWithin
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, context.Canceled): // not by the caller: Close has it give up
		wait += endWithin
	case !errdefs.IsUnavailable(err): // as a broken connection is, but not only that
		return false
	}
	select {
	case <-w.done:
		return true
	case <-time.After(wait):
		return false
	}
}

// disconnect closes both ends of what the client has: it may not have taken the
// socket yet, or be done with it.
func (w *process) disconnect() {
	_ = w.conn.Close()
	_ = w.socket.Close()
}

// end closes the connection, which ends the worker, and waits for it.
func (w *process) end() error {
	w.disconnect()
	select {
	case <-w.done:
		return nil
	case <-time.After(endWithin):
		err := w.cmd.Process.Kill()
		<-w.done
		return errors.Join(errors.New("the worker did not end and was killed"), err)
	}
}

// socketpair returns a connection and its other end.
func socketpair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "parent")
	conn, err := net.FileConn(ours) // a duplicate
	ours.Close()
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn, theirs, nil
}

// connect makes a client of a connection, which is all that it will ever have.
func connect(conn net.Conn) (*grpc.ClientConn, error) {
	once := make(chan net.Conn, 1)
	once <- conn
	return grpc.NewClient("passthrough:///worker",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, errors.New("the worker has ended")
			}
		}))
}
