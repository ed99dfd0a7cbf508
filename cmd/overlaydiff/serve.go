package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff/internal/node"
)

func serveCommand() *cobra.Command {
	var f nodeFlags
	var addr string
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "serve --metrics ADDR",
		Short: "Sizes of all containers for Prometheus",
		Long: `serve answers Prometheus at http://ADDR/metrics with what ps shows: gauges

  overlaydiff_container_size_rw_bytes        what the writable layer holds
  overlaydiff_container_size_root_fs_bytes   that and the layers of the image
  overlaydiff_container_disk_bytes           allocated for the writable layer
  overlaydiff_container_inodes               of the writable layer
  overlaydiff_container_savable_bytes        files that have the image's content

labelled runtime, namespace, id, name and image, and overlaydiff_scan_* about the
last measurement. Containers are measured when it is asked and the last answer is
older than --interval, so that many who ask cost no more than one.`,
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
			}
			scan := func() (*scan, error) { return measureNode(cmd.Context(), f.root, rule) }
			return serve(cmd, addr, &collector{scan: scan, interval: interval, patience: 5 * time.Second})
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&addr, "metrics", "", "`ADDR` to listen on, HOST:PORT")
	cmd.Flags().DurationVar(&interval, "interval", time.Minute, "answers are at most `AGE` old")
	return cmd
}

func serve(cmd *cobra.Command, addr string, c *collector) error {
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("serve: %w; name a free port, as --metrics :9842", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "overlaydiff: see /metrics")
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	fmt.Fprintf(cmd.ErrOrStderr(), "overlaydiff: http://%s/metrics\n", listener.Addr())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err = <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-cmd.Context().Done(): // a signal is how it ends
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(cmd.Context()), 5*time.Second)
	defer stop()
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("serve: %w", err)
	}
	c.scans.Wait()
	return nil
}

// collector is a [prometheus.Collector] that remembers what it measured.
type collector struct {
	scan     func() (*scan, error) // measures all containers
	interval time.Duration
	// patience is how long one who asks waits for a new measurement while there is
	// an old one: Prometheus gives up after 10 seconds.
	patience time.Duration

	scans sync.WaitGroup
	mu    sync.Mutex
	last  *scan         // nil: none yet
	busy  chan struct{} // closed when the running scan ends; nil: none runs
}

// scan is one measurement of all containers.
type scan struct {
	found []node.Measured
	at    time.Time
	took  time.Duration
	errs  int
}

func measureNode(ctx context.Context, root string, rule node.Rule) (*scan, error) {
	start := time.Now()
	list, errs := node.List(ctx, root)
	found, err := node.Measure(ctx, list, node.Options{Rule: rule, CopyUps: true})
	return &scan{found: found, at: time.Now(), took: time.Since(start), errs: len(errs)}, err
}

// latest returns a measurement that is new enough, or the last one if a new one
// takes too long; nil if the server ends.
func (c *collector) latest() *scan {
	c.mu.Lock()
	last, busy := c.last, c.busy
	if last != nil && time.Since(last.at) < c.interval {
		c.mu.Unlock()
		return last
	}
	if busy == nil {
		busy = make(chan struct{})
		c.busy = busy
		c.scans.Go(func() { c.measure(busy) })
	}
	c.mu.Unlock()
	var enough <-chan time.Time
	if last != nil {
		enough = time.After(c.patience)
	}
	select {
	case <-busy:
	case <-enough:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *collector) measure(busy chan struct{}) {
	defer close(busy)
	s, err := c.scan()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = nil
	if err == nil {
		c.last = s
	}
}

var (
	labels     = []string{"runtime", "namespace", "id", "name", "image"}
	containers = []struct {
		desc  *prometheus.Desc
		value func(node.Measured) (int64, bool)
	}{
		{perContainer("size_rw_bytes", "Bytes that the writable layer holds."), func(m node.Measured) (int64, bool) { return m.SizeRw, true }},
		{perContainer("size_root_fs_bytes", "Bytes of the writable layer and of the layers of the image."), func(m node.Measured) (int64, bool) { return m.SizeRootFs, m.RootFsErr == nil }},
		{perContainer("disk_bytes", "Bytes that are allocated for the writable layer."), func(m node.Measured) (int64, bool) { return m.Usage.DiskBytes, true }},
		{perContainer("inodes", "Inodes of the writable layer."), func(m node.Measured) (int64, bool) { return m.Usage.Inodes, true }},
		{perContainer("savable_bytes", "Bytes of files in the writable layer that have the content of the image's."), func(m node.Measured) (int64, bool) { return m.CopyUps.Bytes(), m.CopyUpsErr == nil }},
	}
	scanTime   = prometheus.NewDesc("overlaydiff_scan_timestamp_seconds", "When the containers were measured.", nil, nil)
	scanTook   = prometheus.NewDesc("overlaydiff_scan_duration_seconds", "How long that took.", nil, nil)
	scanFailed = prometheus.NewDesc("overlaydiff_scan_failed", "Containers and stores that could not be measured.", nil, nil)
)

func perContainer(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("overlaydiff_container_"+name, help, labels, nil)
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range containers {
		out <- d.desc
	}
	out <- scanTime
	out <- scanTook
	out <- scanFailed
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.latest()
	if s == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	failed := s.errs
	seen := map[string]bool{}
	for _, m := range s.found {
		if m.Err != nil {
			failed++
			continue
		}
		values := []string{string(m.Runtime), m.Namespace, m.ID, m.Name, m.Image}
		for i := range values {
			values[i] = strings.ToValidUTF8(values[i], "\uFFFD")
		}
		if key := strings.Join(values, "\x00"); seen[key] { // else nothing would be told of any
			failed++
			continue
		} else {
			seen[key] = true
		}
		for _, d := range containers {
			if v, known := d.value(m); known {
				gauge(d.desc, float64(v), values...)
			}
		}
	}
	gauge(scanTime, float64(s.at.UnixMilli())/1000)
	gauge(scanTook, s.took.Seconds())
	gauge(scanFailed, float64(failed))
}
