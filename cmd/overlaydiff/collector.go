package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
)

// collector measures all containers when it is asked, and remembers the answer.
type collector struct {
	scan     func() (*scan, error) // measures all containers
	interval time.Duration
	// patience is how long a client waits for a new measurement while there is an old
	// one. first is how long it waits for the first one.
	patience, first time.Duration

	scans sync.WaitGroup
	mu    sync.Mutex
	last  *scan         // nil: none yet
	busy  chan struct{} // closed when the running scan ends; nil: none runs
}

// scan is the answer made of one measurement of all containers. All clients share its
// bytes, so that one that does not read them costs nothing but a connection.
type scan struct {
	at           time.Time
	text, zipped []byte
}

func measureNode(ctx context.Context, root string, rule node.Rule, bounds node.Bounds) (*scan, error) {
	start := time.Now()
	listed := bounds.List(ctx, root)
	found, err := node.Measure(ctx, listed.Containers, node.Options{Rule: rule, CopyUps: true})
	if err != nil {
		return nil, err
	}
	return newScan(found, start, len(listed.Errs), listed.LeftOut)
}

// start begins the first measurement.
func (c *collector) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
}

// begin returns a channel that is closed when the running measurement ends. c is locked.
func (c *collector) begin() <-chan struct{} {
	if c.busy == nil {
		busy := make(chan struct{})
		c.busy = busy
		c.scans.Go(func() { c.measure(busy) })
	}
	return c.busy
}

func (c *collector) newest() *scan {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// latest returns a measurement that is new enough, or the last one if a new one
// takes too long; nil if there is none, or ctx ends.
func (c *collector) latest(ctx context.Context) *scan {
	c.mu.Lock()
	last := c.last
	if last != nil && time.Since(last.at) < c.interval {
		c.mu.Unlock()
		return last
	}
	busy := c.begin()
	c.mu.Unlock()
	wait := c.first
	if last != nil {
		wait = c.patience
	}
	enough := time.NewTimer(wait)
	defer enough.Stop()
	select {
	case <-busy:
	case <-enough.C:
	case <-ctx.Done():
	}
	return c.newest()
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

// answer is the handler of /metrics.
func (c *collector) answer(w http.ResponseWriter, r *http.Request) {
	s := c.latest(r.Context())
	if s == nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "overlaydiff: the first measurement is not done yet; ask again", http.StatusServiceUnavailable)
		return
	}
	body := s.text
	w.Header().Set("Content-Type", contentType)
	w.Header().Add("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		body = s.zipped
		w.Header().Set("Content-Encoding", "gzip")
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
	_, _ = w.Write(body)
}
