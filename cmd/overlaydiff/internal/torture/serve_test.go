package torture_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// With 2,000 containers, a user who makes as many as they can, and 300 clients that
// don't read, serve has the memory of its pod, answers others, lets go of those clients,
// and ends when it is told to.
func TestServe(t *testing.T) {
	run := torture.Start(t, torture.Limits, 0)
	testenv.RequireRoot(t)
	const containers, clients, most = 2000, 300, 128 << 20
	root := t.TempDir()
	testenv.Tree(t, root, `file etc/passwd content="u:x:1000:1000::/home/u:/bin/sh\n"`)
	addPodman(t, filepath.Join(root, "var/lib/containers/storage"), containers, "prod-web-server-", 0)
	addPodman(t, filepath.Join(root, "home/u/.local/share/containers/storage"), 2000, strings.Repeat("\x01é", 400), 1000)
	s := startServe(t, root)
	for start := time.Now(); s.get(t, "/-/ready").StatusCode != http.StatusOK; time.Sleep(100 * time.Millisecond) {
		if time.Since(start) > 2*time.Minute {
			t.Fatal("nothing was measured in two minutes")
		}
	}
	for range clients {
		s.dontRead(t)
	}
	for i := range 20 {
		start := time.Now()
		answer := s.get(t, "/metrics")
		body, err := io.ReadAll(answer.Body)
		if took := time.Since(start); err != nil || took > time.Second {
			t.Errorf("answer %d took %v: %v", i, took, err)
		}
		text := string(body)
		if n := strings.Count(text, `overlaydiff_container_size_rw_bytes{container="",container_namespace="",id="c`); n != containers || !strings.Contains(text, "\noverlaydiff_scan_left_out 1500\n") {
			t.Fatalf("%d containers of root's, want %d, in %d bytes", n, containers, len(text))
		}
	}
	if n := s.descriptors(t); n < clients {
		t.Errorf("serve has %d descriptors, with %d clients", n, clients)
	}
	for start := time.Now(); s.descriptors(t) > 30; time.Sleep(200 * time.Millisecond) {
		if time.Since(start) > 40*time.Second {
			t.Fatalf("after %v, serve has %d descriptors: clients that don't read are kept", time.Since(start), s.descriptors(t))
		}
	}
	for range clients {
		s.dontRead(t)
	}
	peak := s.peak(t)
	if peak > most {
		t.Errorf("serve took %d MiB", peak>>20)
	}
	run.Count("clients that don't read", 2*clients)
	t.Logf("%d MiB at most", peak>>20)
	run.Note("serve: %d MiB at most, with %d containers and %d clients that don't read.", peak>>20, containers, clients)
	start := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil || time.Since(start) > 10*time.Second {
		t.Errorf("it ended %v after the signal: %v", time.Since(start), err)
	}
}

// addPodman makes a store of Podman's with containers that have one image.
func addPodman(t *testing.T, root string, n int, name string, owner int) {
	t.Helper()
	lines := []string{"dir overlay-containers", "dir overlay-layers", "file overlay/base/diff/f content=base"}
	list, layers := []string{}, []string{`{"id":"base"}`}
	for i := range n {
		list = append(list, fmt.Sprintf(`{"id":"c%063d","names":[%q],"image":"i","layer":"l%d","metadata":"{\"image-name\":\"registry.example/team/application:%d\"}"}`, i, name+strconv.Itoa(i), i, i))
		layers = append(layers, fmt.Sprintf(`{"id":"l%d","parent":"base"}`, i))
		lines = append(lines, fmt.Sprintf("file overlay/l%d/diff/g content=x", i))
	}
	testenv.Tree(t, root, lines...)
	for name, list := range map[string][]string{"overlay-containers/containers.json": list, "overlay-layers/layers.json": layers} {
		if err := os.WriteFile(filepath.Join(root, name), []byte("["+strings.ReplaceAll(strings.Join(list, ","), `\x01`, `\u0001`)+"]"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, owner, owner)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// served is a serve that runs.
type served struct {
	cmd  *exec.Cmd
	addr string
}

func startServe(t *testing.T, root string) *served {
	t.Helper()
	program := installCommand(t, t.TempDir())
	s := &served{cmd: exec.CommandContext(t.Context(), program, "serve", "--metrics", "127.0.0.1:0", "--root", root, "--interval", "5s")}
	stderr, err := s.cmd.StderrPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
	line, err := bufio.NewReader(stderr).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "overlaydiff: http://")
	if err != nil || !ok {
		t.Fatalf("%q, %v", line, err)
	}
	s.addr = strings.TrimSuffix(addr, "/metrics")
	return s
}

// get asks on a connection of its own.
func (s *served) get(t *testing.T, path string) *http.Response {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, Timeout: time.Minute}
	answer, err := client.Get("http://" + s.addr + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// dontRead asks for the metrics and reads nothing.
func (s *served) dontRead(t *testing.T) {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", s.addr)
	if err == nil {
		_, err = io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
}

func (s *served) descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// peak is the most memory that it had, in bytes.
func (s *served) peak(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "VmHWM:" {
			n, err := strconv.Atoi(words[1])
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
