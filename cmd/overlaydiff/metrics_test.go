package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
)

func measured(owner uint32, id, name string, size int64) node.Measured {
	c := stores.Container{Runtime: stores.RuntimePodman, ID: id, Name: name, Image: "i"}
	if owner != 0 {
		c.Owner = stores.Owner{UID: owner, Name: "u" + fmt.Sprint(owner)}
	}
	return node.Measured{Container: c, SizeRw: size, SizeRootFs: size}
}

// scanned returns the answer for containers, which Prometheus's own parser takes.
func scanned(t *testing.T, found ...node.Measured) string {
	t.Helper()
	s, err := newScan(found, time.Now(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.text) < 1<<20 { // else it takes minutes
		parser := expfmt.NewTextParser(model.UTF8Validation)
		if _, err := parser.TextToMetricFamilies(bytes.NewReader(s.text)); err != nil {
			t.Errorf("%v in\n%.2000s", err, s.text)
		}
		// What "promtool check metrics" says.
		if problems, err := promlint.New(bytes.NewReader(s.text)).Lint(); err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(s.zipped))
	if err != nil {
		t.Fatal(err)
	}
	if unzipped, err := io.ReadAll(z); err != nil || !bytes.Equal(unzipped, s.text) {
		t.Errorf("the zipped answer is another: %v", err)
	}
	return string(s.text)
}

// Words that are no words are labels all the same.
func TestScan_Words(t *testing.T) {
	text := scanned(t, measured(1000, "a\xff\n\"\\", "\x1b[2J"+strings.Repeat("é", 500), 1), measured(0, "", "", 2))
	if n := strings.Count(text, "_size_rw_bytes{"); n != 2 {
		t.Errorf("%d containers in\n%s", n, text)
	}
}

// Whatever users call their containers, root's have their names and numbers.
func TestScan_Owners(t *testing.T) {
	text := scanned(t, measured(1000, "c1", "db", 10), measured(0, "c1", "db", 30), measured(1001, "c1", "db", 20), measured(1000, "c1", "db", 11))
	for _, want := range []string{
		`overlaydiff_container_size_rw_bytes{container="",container_namespace="",id="c1",image="i",k8s_namespace="",name="db",owner="root",pod="",runtime="podman",state=""} 30`,
		`overlaydiff_container_size_rw_bytes{container="",container_namespace="",id="u1000/c1",image="i",k8s_namespace="",name="u1000/db",owner="u1000",pod="",runtime="podman",state=""} 10`,
		`overlaydiff_container_size_rw_bytes{container="",container_namespace="",id="u1001/c1",image="i",k8s_namespace="",name="u1001/db",owner="u1001",pod="",runtime="podman",state=""} 20`,
		`overlaydiff_scan_failed 1`, `overlaydiff_scan_left_out 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "_size_rw_bytes{"); n != 3 {
		t.Errorf("%d containers", n)
	}
}

// A container of a pod has the labels by which Kubernetes knows it, and containerd's namespace
// besides; a user's pod is none of root's. What makes no overlay has not failed.
func TestScan_Pods(t *testing.T) {
	pod := stores.Pod{Namespace: "prod", Name: "web-0", Container: "nginx", Attempt: 1}
	root, user, native := measured(0, "c1", "prod/web-0/nginx", 30), measured(1000, "c2", "prod/web-0/nginx", 10), measured(0, "c3", "n", 0)
	root.Pod, root.Namespace, root.State, user.Pod = pod, "k8s.io", stores.Running, pod
	native.Err = &diff.UnsupportedError{Op: "find the layers", Reason: "there are none"}
	text := scanned(t, root, user, native)
	for _, want := range []string{
		`_size_rw_bytes{container="nginx",container_namespace="k8s.io",id="c1",image="i",k8s_namespace="prod",name="prod/web-0/nginx",owner="root",pod="web-0",runtime="podman",state="running"} 30`,
		`_size_rw_bytes{container="u1000/nginx",container_namespace="",id="u1000/c2",image="i",k8s_namespace="u1000/prod",name="u1000/prod/web-0/nginx",owner="u1000",pod="u1000/web-0",runtime="podman",state=""} 10`,
		`overlaydiff_scan_failed 0`, `overlaydiff_scan_unsupported 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// An answer is bounded, and what is left out is users' first.
func TestScan_Bounds(t *testing.T) {
	var found []node.Measured
	long := strings.Repeat("é\n\x1b\xff", 50)
	const users = 6_000
	for i := range users {
		found = append(found, measured(1000, fmt.Sprintf("c%d", i), fmt.Sprint(long, i), 1))
	}
	found = append(found, measured(0, "c", long, 7))
	text := scanned(t, found...)
	if len(text) > maxAnswer+1<<20 {
		t.Errorf("%d bytes", len(text))
	}
	if !strings.Contains(text, `owner="root",pod="",runtime="podman",state=""} 7`) {
		t.Error("root's container is left out")
	}
	shown := strings.Count(text, "_size_rw_bytes{")
	if left := fmt.Sprintf("overlaydiff_scan_left_out %d\n", users+1-shown); shown < 1000 || !strings.Contains(text, left) && !strings.Contains(text, "e+") {
		t.Errorf("%d are shown, and there is no %q", shown, left)
	}
}

func FuzzLabel(f *testing.F) {
	for _, s := range []string{"", "web", strings.Repeat("é", maxLabel), "\xff\x00\x1b[2J", strings.Repeat("x", maxLabel+1)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		got := labelValue(word)
		if len(got) > maxLabel || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\x1b\n\u009b") {
			t.Errorf("%q becomes %q, of %d bytes", word, got, len(got))
		}
	})
}
