package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
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
	url, end := startServe(t, "--root", root, "--interval", "1h")
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
	id := strings.Repeat("a", 64)
	labels := fmt.Sprintf(`{container="",container_namespace="",id="%s",image="img:1",k8s_namespace="",name="web",owner="root",pod="",runtime="isulad",state=""}`, id)
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
	if page := get(strings.TrimSuffix(url, "metrics") + "-/healthy"); page == "" {
		t.Error("healthy says nothing")
	}
	get(strings.TrimSuffix(url, "metrics") + "-/ready")
	end()
}

// startServe starts the command. end ends it and waits.
func startServe(t *testing.T, args ...string) (url string, end func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	cmd := newCommand()
	stderr := &lines{first: make(chan string, 1)}
	cmd.SetArgs(append([]string{"serve", "--metrics", "127.0.0.1:0"}, args...))
	cmd.SetErr(stderr)
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	var line string
	select {
	case line = <-stderr.first:
	case err := <-ended:
		stop()
		t.Fatal(err)
	}
	_, url, _ = strings.Cut(line, ": ")
	return url, func() {
		t.Helper()
		http.DefaultClient.CloseIdleConnections()
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("it does not end")
		}
	}
}

// The web configuration file is that of Prometheus exporters.
func TestServe_WebConfig(t *testing.T) {
	dir := t.TempDir()
	const hash = "$2a$04$Pyuj6.BsZFQaov4kSLW/Ue0a4llzS3K4le/OHLAXPPT7yEsHpGr7." // of "secret"
	for name, c := range map[string]struct {
		config string
		fails  bool
	}{
		"passwords": {config: "basic_auth_users:\n  u: " + hash + "\n"},
		"nonsense":  {config: "what: ever\n", fails: true},
		"no keys":   {config: "tls_server_config:\n  cert_file: none\n  key_file: none\n", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, "web.yml")
			if err := os.WriteFile(file, []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.fails {
				cmd := newCommand()
				cmd.SetArgs([]string{"serve", "--metrics", "127.0.0.1:0", "--web.config.file", file})
				if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), file) {
					t.Errorf("error %v, want one about the file", err)
				}
				return
			}
			url, end := startServe(t, "--root", t.TempDir(), "--web.config.file", file)
			defer end()
			url = strings.Replace(url, "http(s)", "http", 1)
			for _, as := range []struct {
				user, password string
				want           int
			}{{"", "", http.StatusUnauthorized}, {"u", "wrong", http.StatusUnauthorized}, {"v", "secret", http.StatusUnauthorized}, {"u", "secret", http.StatusOK}} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
				if err != nil {
					t.Fatal(err)
				}
				if as.user != "" {
					r.SetBasicAuth(as.user, as.password)
				}
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
				if answer.StatusCode != as.want {
					t.Errorf("user %q, password %q: %s", as.user, as.password, answer.Status)
				}
			}
		})
	}
}

// Too many connections cost the oldest one, not the newest.
func TestBounded(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := bounded(listener, 3)
	defer l.Close()
	var clients, servers []net.Conn
	for range 5 {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		clients, servers = append(clients, client), append(servers, server)
	}
	for i, server := range servers {
		_, err := server.Write([]byte("x"))
		if open := err == nil; open != (i >= 2) {
			t.Errorf("connection %d: %v", i, err)
		}
		if err := clients[i].SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, _ := clients[i].Read(make([]byte, 1)); (n == 1) != (i >= 2) {
			t.Errorf("client %d got %d bytes", i, n)
		}
	}
	for _, server := range servers {
		server.Close()
	}
	if open := l.(*boundedListener).open; len(open) > 0 {
		t.Errorf("%d connections are left", len(open))
	}
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
