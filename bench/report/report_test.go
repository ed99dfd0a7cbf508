package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is what bench/peers could print: images of four sizes, one with
// features, and the real one.
func sample() string {
	var b strings.Builder
	b.WriteString("kernel: 6.0\ngoos: linux\ngoarch: amd64\ncpu: Any <CPU>\npkg: x\n")
	scenario := func(image, features string, n float64) {
		for i, s := range []string{"overlaydiff-native", "moby.ChangesDirs", "continuity.DiffDirChanges", "buildkit.Changes", "floor-1-thread", "floor-walk-2-threads"} {
			more := "0 wrong"
			switch {
			case features == "on" && strings.HasPrefix(s, "buildkit"):
				more = "0 wrong 1 error"
			case features == "on" && strings.HasPrefix(s, "continuity"):
				more = "9 wrong"
			}
			ns := []float64{2e5, 4e4 * n, 3e5, 4e6, 1e5, 5e3 * n}[i]
			for range 3 {
				fmt.Fprintf(&b, "BenchmarkChanges/image=%s/upper=20/layers=1/features=%s/subject=%s-2 100 %.0f ns/op %.0f peak-B %s 10 B/op 5 allocs/op\n",
					image, features, s, ns, ns/3, more)
			}
		}
	}
	for image, n := range map[string]float64{"1k": 1e3, "10k": 1e4, "100k": 1e5, "1M": 1e6} {
		scenario(image, "off", n)
	}
	scenario("10k", "on", 1e4)
	scenario("debian", "on", 5e4)
	return b.String()
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "out.txt")
	if err := os.WriteFile(in, []byte(sample()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := report(dir, filepath.Join(dir, "page.html"), []string{in}); err != nil {
		t.Fatal(err)
	}
	md, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- kernel: 6.0\n", "- samples of each: 3\n", "## Changes: image=debian",
		"| **overlaydiff-native** | 200 µs | 0 % | 2.00 | 1.00 | 66.7 kB | 5 | right |",
		"| moby.ChangesDirs | 2 s | 0 % | 20000 | 10000 |",
		"| buildkit.Changes |  |  |  |  |  |  | gives up |",
		"| wrong: 9 |", "| the limit |",
		"Changes: time against entries of the image\n\nwith upper=20, layers=1, features=off\n",
		"Changes: time against redirect_dir, metacopy and index\n\nwith image=10k, upper=20, layers=1\n",
	} {
		if !strings.Contains(string(md), want) {
			t.Errorf("no %q in\n%s", want, md)
		}
	}
	plots, err := filepath.Glob(filepath.Join(dir, "benchmarks", "*.svg"))
	if err != nil || len(plots) != 2 { // of times, one a title
		t.Errorf("plots %q, %v, want 2", plots, err)
	}
	for _, p := range plots {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(f); ; {
			if _, err = d.Token(); err != nil {
				break
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", p, err)
		}
		f.Close()
	}
	page, err := os.ReadFile(filepath.Join(dir, "page.html"))
	if err != nil || strings.Contains(strings.ReplaceAll(string(page), "http://www.w3.org/2000/svg", ""), "http") || strings.Contains(string(page), "Any <CPU>") {
		t.Errorf("the page loads something, or has unescaped text (%v)", err)
	}
	if err := os.WriteFile(in, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := report(dir, filepath.Join(dir, "page.html"), []string{in}); err == nil {
		t.Error("no benchmarks: no error")
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		v          float64
		unit, want string
	}{
		{1e-9, "sec/op", "1 ns"}, {1e-6, "sec/op", "1 µs"}, {0.0123456, "sec/op", "12.3 ms"}, {345, "sec/op", "345 s"},
		{1e-3, "sec/op", "1 ms"}, {100e-6, "sec/op", "100 µs"}, {999, "peak-B", "999 B"}, {1.5e6, "peak-B", "1.5 MB"}, {0, "B", "0 B"},
	} {
		if got := format(c.v, c.unit); got != c.want {
			t.Errorf("%g %s: %s, want %s", c.v, c.unit, got, c.want)
		}
	}
}
