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

	"github.com/overlaydiff/overlaydiff/internal/node"
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
	labels := fmt.Sprintf(`{id="%s",image="img:1",name="web",namespace="",runtime="isulad"}`, id)
	first := get(url)
	for _, want := range []string{
		"overlaydiff_container_size_rw_bytes" + labels + " 3000\n", "overlaydiff_container_size_root_fs_bytes" + labels + " 3000\n",
		"overlaydiff_container_inodes" + labels + " 2\n", "overlaydiff_container_savable_bytes" + labels + " 0\n",
		"overlaydiff_scan_timestamp_seconds ", "overlaydiff_scan_duration_seconds ", "overlaydiff_scan_failed ",
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

// While a measurement takes long, the last one is the answer; a new one comes
// when the interval is over.
func TestCollector(t *testing.T) {
	root := t.TempDir()
	c := &collector{ctx: t.Context(), root: root, rule: node.Own, interval: time.Nanosecond}
	first := c.latest()
	if first == nil {
		t.Fatal("nothing")
	}
	if second := c.latest(); second == first {
		t.Error("it was not measured again")
	}
	c.interval = time.Hour
	last := c.latest()
	for range 10 {
		if c.latest() != last {
			t.Error("measured again within the interval")
		}
	}
	c.scan.Wait()
}
