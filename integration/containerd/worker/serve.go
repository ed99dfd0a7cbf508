//go:build linux

package worker

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	"github.com/containerd/containerd/v2/contrib/diffservice"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
)

// Serve has d do what the parent at the other end of the socket asks for, until
// that closes it. What is under way then is cancelled and waited for.
func Serve(socket *os.File, d Service) error {
	conn, err := net.FileConn(socket)
	if closing := socket.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	srv := grpc.NewServer(grpc.WaitForHandlers(true), grpc.UnaryInterceptor(HandOn))
	diffapi.RegisterDiffServer(srv, diffservice.FromApplierAndComparer(d, d))
	if err := srv.Serve(newSingle(conn)); !errors.Is(err, net.ErrClosed) {
		return err
	}
	srv.Stop()
	return nil
}

// HandOn is a server's interceptor that has calls to other services made in the
// namespace, and under the lease, of the call that is served.
func HandOn(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if ns, ok := namespaces.Namespace(ctx); ok {
		ctx = namespaces.WithNamespace(ctx, ns)
	}
	if lease, ok := leases.FromContext(ctx); ok {
		ctx = leases.WithLease(ctx, lease)
	}
	return handler(ctx, req)
}

// single is a listener with one connection, and closed when that is.
type single struct {
	conn   chan net.Conn
	addr   net.Addr
	once   sync.Once
	closed chan struct{}
}

func newSingle(c net.Conn) *single {
	s := &single{conn: make(chan net.Conn, 1), addr: c.LocalAddr(), closed: make(chan struct{})}
	s.conn <- &closer{Conn: c, closed: s.Close}
	return s
}

func (s *single) Accept() (net.Conn, error) {
	select {
	case c := <-s.conn:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *single) Addr() net.Addr { return s.addr }

func (s *single) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// closer is a connection that says when it is closed.
type closer struct {
	net.Conn
	closed func() error
}

func (c *closer) Close() error { return errors.Join(c.closed(), c.Conn.Close()) }
