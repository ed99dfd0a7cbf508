package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// lines is a writer that hands on the first line.
type lines struct {
	mu    sync.Mutex
	all   string
	first chan string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := strings.Contains(l.all, "\n")
	l.all += string(b)
	if line, _, ok := strings.Cut(l.all, "\n"); ok && !before {
		l.first <- line
	}
	return len(b), nil
}

func TestServe(t *testing.T) {
	root := t.TempDir()
	storage := "var/lib/isulad/storage/"
	container := func(id, name string, size int) {
		id = strings.Repeat(id, 64)
		testenv.Tree(t, root,
			fmt.Sprintf("file %soverlay-containers/%s/container.json content=%q", storage, id, fmt.Sprintf(`{"id":%q,"names":[%q],"image":"img:1"}`, id, name)),
			fmt.Sprintf("file %soverlay-layers/%s/layer.json content=%q", storage, id, fmt.Sprintf(`{"id":%q}`, id)),
			fmt.Sprintf("file %soverlay/%s/diff/f size=%d", storage, id, size), fmt.Sprintf("dir %soverlay/%s/empty", storage, id))
	}
	container("a", "web", 3000)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd := newCommand()
	stderr := &lines{first: make(chan string, 1)}
	cmd.SetArgs([]string{"serve", "--metrics", "127.0.0.1:0", "--root", root, "--interval", "1h"})
	cmd.SetErr(stderr)
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	var line string
	select {
	case line = <-stderr.first:
	case err := <-ended:
		t.Fatal(err)
	}
	get := func(url string) string {
		t.Helper()
		answer, err := http.Get(url) //nolint:noctx // the test ends it
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatal(answer.Status, err)
		}
		return string(body)
	}
	_, url, _ := strings.Cut(line, ": ")
	id := strings.Repeat("a", 64)
	labels := fmt.Sprintf(`{id="%s",image="img:1",name="web",namespace="",owner="root",runtime="isulad"}`, id)
	first := get(url)
	for _, want := range []string{
		"overlaydiff_container_size_rw_bytes" + labels + " 3000\n", "overlaydiff_container_size_root_fs_bytes" + labels + " 3000\n",
		"overlaydiff_container_inodes" + labels + " 2\n", "overlaydiff_container_savable_bytes" + labels + " 0\n",
		"overlaydiff_scan_timestamp_seconds ", "overlaydiff_scan_duration_seconds ", "overlaydiff_scan_failed ", "overlaydiff_scan_left_out ",
	} {
		if !strings.Contains(first, want) {
			t.Errorf("no %q in\n%s", want, first)
		}
	}
	container("b", "new", 5)
	if again := get(url); again != first {
		t.Errorf("within the interval, it was measured again:\n%s", again)
	}
	if page := get(strings.TrimSuffix(url, "metrics")); !strings.Contains(page, "/metrics") {
		t.Error(page)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
	http.DefaultClient.CloseIdleConnections()
}

// All who ask within the interval get one measurement. While a new one takes
// long, the last one is the answer.
func TestCollector(t *testing.T) {
	measured := 0
	hold := make(chan struct{})
	close(hold)
	c := &collector{interval: time.Hour, patience: time.Hour, first: time.Hour}
	c.scan = func() (*scan, error) {
		<-hold
		measured++
		return &scan{at: time.Now()}, nil
	}
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			if c.latest(t.Context()) == nil {
				t.Error("nothing")
			}
		})
	}
	asking.Wait()
	if measured != 1 {
		t.Errorf("measured %d times for those who ask at once", measured)
	}
	first := c.latest(t.Context())
	c.interval = 0
	if second := c.latest(t.Context()); second == first || measured != 2 {
		t.Errorf("after the interval: measured %d times", measured)
	}
	hold, c.patience = make(chan struct{}), 0
	last := c.last
	for range 3 {
		if c.latest(t.Context()) != last {
			t.Error("one who asks waits for a long measurement")
		}
	}
	close(hold)
	c.scans.Wait()
	if c.last == last || measured != 3 {
		t.Errorf("measured %d times; a long measurement is lost", measured)
	}
	c.scan = func() (*scan, error) { return nil, context.Canceled }
	last, c.patience = c.last, time.Hour
	if c.latest(t.Context()) != last {
		t.Error("a measurement that failed took the last one away")
	}
}
