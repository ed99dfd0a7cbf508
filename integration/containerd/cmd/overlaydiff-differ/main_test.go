package main

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/diff"
	diffproxy "github.com/containerd/containerd/v2/core/diff/proxy"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// containerd's mount package changes the working directory of a thread, which
// then ends. The main thread can't: from here on no test runs on it.
func init() { runtime.LockOSThread() }

// serverEnv makes the test's binary the program itself.
const serverEnv = "OVERLAYDIFF_TEST_SERVER"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerName || os.Getenv(serverEnv) != "" {
		os.Unsetenv(serverEnv)
		main() // a test binary is its own worker, and the server of TestHandedOver
		return
	}
	testenv.Main(m)
}

// serving runs the server and returns a client and what ends both.
func serving(s settings) (*grpc.ClientConn, func() error, error) {
	s.xattrs = layer.XattrsAll
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)), s) }()
	end := func() error { cancel(); return <-done }
	for range 500 {
		if c, err := net.Dial("unix", s.address); err == nil {
			c.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	conn, err := dial(s.address)
	if err != nil {
		return nil, nil, err
	}
	return conn, func() error { conn.Close(); return end() }, nil
}

// TestSnapshots runs containerd's suite through the socket.
func TestSnapshots(t *testing.T) {
	testenv.RequireRoot(t)
	testsuite.SnapshotterSuite(t, "overlayfs", func(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		conn, end, err := serving(settings{address: filepath.Join(root, "sock"), containerd: filepath.Join(root, "none"), root: filepath.Join(root, "snapshots")})
		if err != nil {
			return nil, nil, err
		}
		return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), "overlaydiff"), end, nil
	})
}

// TestServe: nobody else can connect, and nothing is left.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	s := settings{address: filepath.Join(dir, "run", "sock"), containerd: filepath.Join(dir, "none")}
	old := syscall.Umask(0)
	conn, end, err := serving(s)
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(s.address)
	if err != nil || fi.Mode().Perm() != 0o600 || fi.Mode().Type() != fs.ModeSocket {
		t.Errorf("the socket is %v, error %v; want a socket of mode 0600", fi.Mode(), err)
	}
	if _, err := listen(s.address); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("a second server: error %v", err)
	}
	// Without a containerd a comparison fails, in the worker: what it asks for has no mounts.
	d := diffproxy.NewDiffApplier(diffapi.NewDiffClient(conn)).(diff.Comparer)
	if _, err := d.Compare(t.Context(), nil, nil); !errdefs.IsNotImplemented(err) || !strings.Contains(err.Error(), "0 mounts") {
		t.Errorf("compare: error %v, want that it is declined", err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.address); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: error %v", err)
	}
}

// TestHandedOver: with a socket of systemd's, calls wait while a killed server is
// started again.
func TestHandedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	start := func() *exec.Cmd {
		cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" -address /none -containerd /none`, os.Args[0])
		cmd.Env = append(os.Environ(), serverEnv+"=1")
		cmd.ExtraFiles = []*os.File{socket}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	conn, err := dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := diffproxy.NewDiffApplier(diffapi.NewDiffClient(conn)).(diff.Comparer)
	ask := func() error { _, err := d.Compare(t.Context(), nil, nil); return err }

	first := start()
	if err := ask(); !errdefs.IsNotImplemented(err) {
		t.Errorf("error %v, want that it is declined", err)
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	for conn.GetState() == connectivity.Ready { // a call that comes before that is noticed fails
		time.Sleep(time.Millisecond)
	}
	answer := make(chan error)
	go func() { answer <- ask() }()
	time.Sleep(100 * time.Millisecond) // nobody is there
	second := start()
	if err := <-answer; !errdefs.IsNotImplemented(err) {
		t.Errorf("started again: error %v, want that it is declined", err)
	}
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("ended by SIGTERM: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket, which is systemd's, is gone: %v", err)
	}
}

func TestListen_stale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as if it were killed
	l.Close()
	again, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(path); err == nil {
		t.Error("a file that is no socket was replaced")
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		args string
		ok   bool
	}{
		{"", true},
		{"-address /a -containerd /b -root /c -xattrs oci", true},
		{"-xattrs some", false},
		{"stray", false},
		{"-unknown", false},
	} {
		if _, err := parse(strings.Fields(c.args)); (err == nil) != c.ok {
			t.Errorf("%q: error %v", c.args, err)
		}
	}
}
