package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
)

// The bounds of serve: a pod of 128 MiB holds all of them at once.
const (
	maxClients   = 512                    // connections; the oldest is closed for a new one
	sendBuffer   = 64 << 10               // bytes in the kernel for a client that does not read
	requestTime  = 10 * time.Second       // for a client to send its request
	answerTime   = 15 * time.Second       // for a client to read the answer
	idleTime     = 30 * time.Second       // between two requests of a client
	firstTime    = time.Minute            // that a client waits for the first measurement
	patienceTime = 750 * time.Millisecond // that a client waits for a new measurement while there is an old one
	stopTime     = 5 * time.Second        // for clients to read what they asked for before serve ends
	softMemory   = 96 << 20               // where the garbage collector begins to hurry
	maxHeader    = 16 << 10
	maxStreams   = 8 // requests at once on a connection of HTTP/2
	loopback     = "localhost:9842"
	mostShown    = 5000 // --limit
	mostOfUser   = 500  // containers of one user, of these
)

func serveCommand() *cobra.Command {
	var f nodeFlags
	var addr, webConfig string
	var interval time.Duration
	var limit int
	cmd := &cobra.Command{
		Use:   "serve [--metrics ADDR]",
		Short: "Serve the sizes of all containers to Prometheus",
		Long: `serve exports the numbers of ps to Prometheus, at http://ADDR/metrics. Gauges:

  overlaydiff_container_size_rw_bytes        what the writable layer holds
  overlaydiff_container_size_root_fs_bytes   the same and the layers of the image
  overlaydiff_container_disk_bytes           bytes allocated for the writable layer
  overlaydiff_container_inodes               inodes of the writable layer
  overlaydiff_container_savable_bytes        files that have the image's content

Their labels are owner, runtime, id, name, image, state, container_namespace
(containerd's), and for pods k8s_namespace, pod and container. overlaydiff_scan_*
describes the last measurement. A container in a user's store has owner="USER",
id="USER/ID" and name="USER/NAME", so that no user can imitate a container of root.

A request measures the containers if the last answer is older than --interval;
many clients cost no more than one. If the measurement takes long, serve returns the
last answer. If there are more than --limit containers, root's come first, then at
most 500 of each user; overlaydiff_scan_left_out counts the rest.

/-/healthy answers while serve runs, /-/ready after the first measurement.
TLS and passwords: --web.config.file, in the format of Prometheus exporters
(https://prometheus.io/docs/prometheus/latest/configuration/https/).`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rule, err := f.rule()
			switch {
			case err != nil:
				return err
			case addr == "":
				return usagef("say where to serve: --metrics :9842, or --metrics localhost:9842 for this machine only")
			case interval < 0:
				return usagef("--interval %s: say how old an answer may be", interval)
			case limit < 1:
				return usagef("--limit %d: say how many containers are shown, 1 or more", limit)
			}
			bounds := node.Bounds{Containers: limit, OfUser: mostOfUser}
			c := &collector{interval: interval, patience: patienceTime, first: firstTime}
			c.scan = func() (*scan, error) { return measureNode(cmd.Context(), f.root, rule, bounds) }
			return serve(cmd, addr, webConfig, c)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&addr, "metrics", loopback, "`ADDR` to listen on, HOST:PORT; :PORT for all networks")
	cmd.Flags().DurationVar(&interval, "interval", time.Minute, "answers are at most `AGE` old")
	cmd.Flags().IntVar(&limit, "limit", mostShown, "show at most `N` containers")
	cmd.Flags().StringVar(&webConfig, "web.config.file", "", "`FILE` that configures TLS and passwords")
	return cmd
}

func serve(cmd *cobra.Command, addr, webConfig string, c *collector) error {
	if err := web.Validate(webConfig); err != nil {
		return fmt.Errorf("read --web.config.file %s: %w", webConfig, err)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(softMemory))
	}
	listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("serve: %w; name a free port, as --metrics :9842", err)
	}
	// Requests that wait for a measurement end with the command.
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	server := newServer(ctx, c)
	scheme := "http"
	if webConfig != "" {
		scheme = "http(s)"
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "overlaydiff: %s://%s/metrics\n", scheme, listener.Addr())
	c.start()
	ended := make(chan error, 1)
	go func() {
		quiet := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelError}))
		ended <- web.Serve(bounded(listener, maxClients), server, &web.FlagConfig{WebConfigFile: &webConfig}, quiet)
	}()
	select {
	case err = <-ended:
		err = fmt.Errorf("serve: %w", errors.Join(err, listener.Close()))
	case <-cmd.Context().Done(): // a signal is how it ends
		err = shutdown(server)
	}
	c.scans.Wait()
	return err
}

// shutdown lets clients read what they asked for, for a while.
func shutdown(server *http.Server) error {
	ctx, stop := context.WithTimeout(context.Background(), stopTime)
	defer stop()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

func newServer(ctx context.Context, c *collector) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", c.answer)
	for _, path := range []string{"/-/healthy", "/healthz"} { // as Prometheus and as Kubernetes call it
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, "overlaydiff runs")
		})
	}
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if c.newest() == nil {
			http.Error(w, "the first measurement is not done yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "overlaydiff has measured")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "overlaydiff: see /metrics")
	})
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: requestTime, ReadTimeout: requestTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		// For waiting and writing; the answer itself has its own limit.
		WriteTimeout: firstTime + answerTime,
		HTTP2:        &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: answerTime, PingTimeout: answerTime, WriteByteTimeout: answerTime},
		BaseContext:  func(net.Listener) context.Context { return ctx },
		ErrorLog:     log.New(io.Discard, "", 0), // it is what clients did wrong
	}
}

// boundedListener closes the oldest connection when there are too many: one that does
// its work is done in less time than others need to make so many.
type boundedListener struct {
	net.Listener
	most int

	mu   sync.Mutex
	open []*boundedConn // the oldest first
}

func bounded(l net.Listener, most int) net.Listener { return &boundedListener{Listener: l, most: most} }

// Accept implements [net.Listener].
func (l *boundedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // else the kernel keeps megabytes for one that does not read
	}
	c := &boundedConn{Conn: conn, of: l}
	l.mu.Lock()
	var oldest *boundedConn
	if len(l.open) == l.most {
		oldest = l.open[0]
		l.open = l.open[1:]
	}
	l.open = append(l.open, c)
	l.mu.Unlock()
	if oldest != nil {
		_ = oldest.Conn.Close()
	}
	return c, nil
}

type boundedConn struct {
	net.Conn
	of *boundedListener
}

// Close implements [net.Conn].
func (c *boundedConn) Close() error {
	c.of.mu.Lock()
	for i, open := range c.of.open {
		if open == c {
			c.of.open = append(c.of.open[:i:i], c.of.open[i+1:]...)
			break
		}
	}
	c.of.mu.Unlock()
	return c.Conn.Close()
}
