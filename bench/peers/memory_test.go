package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// large are the layers whose memory is measured: one of many entries, and one of
// a large file, which is sparse: whoever reads it gets its zeros all the same.
var large = map[bench.Set][]struct {
	upper int
	file  int64
}{
	bench.Tiny:  {{upper: 1000}, {upper: 20, file: 10 << 20}},
	bench.Short: {{upper: 100_000}, {upper: 20, file: 1 << 30}},
	bench.Full:  {{upper: 1_000_000}, {upper: 20, file: 10 << 30}},
}

// order is what a child is asked to do, and childEnv what says that it is one.
type order struct {
	Exporter string
	Scene    *bench.Scene
}

const childEnv = "OVERLAYDIFF_BENCH_CHILD"

// BenchmarkMemory has each exporter write its layer in a process of its own:
// peak-B is all that it takes, the program itself included.
func BenchmarkMemory(b *testing.B) {
	testenv.RequireRoot(b)
	set := chosenSet(b)
	for _, l := range large[set] {
		s := bench.Scenario{Image: 1000, Upper: l.upper}
		b.Run(fmt.Sprintf("%s/file=%dM", s.Name(), l.file>>20), func(b *testing.B) {
			scene := bench.Build(b, s, mountOverlay)
			least := int64(l.upper) * 512
			if l.file > 0 {
				makeSparse(b, filepath.Join(scene.Stack.Mountpoint, "large"), l.file)
				least = l.file
			}
			for _, e := range append(ours(), exporters...) {
				if e.name == "gnu.tar" {
					continue // no process of ours
				}
				b.Run("subject="+e.name, func(b *testing.B) { measureChild(b, order{e.name, scene}, least) })
			}
		})
	}
}

func makeSparse(b *testing.B, name string, size int64) {
	b.Helper()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		b.Fatal(err)
	}
}

func measureChild(b *testing.B, o order, least int64) {
	in, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	var peak int64
	for b.Loop() {
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), childEnv+"=1")
		c.Stdin, c.Stderr = bytes.NewReader(in), os.Stderr
		out, err := c.Output()
		if err != nil {
			b.Fatal(err)
		}
		var written, took int64
		if _, err := fmt.Sscan(string(out), &written, &took); err != nil || written < least {
			b.Fatalf("%q, %v: less than %d bytes", out, err, least)
		}
		peak = max(peak, took)
	}
	b.ReportMetric(float64(peak), "peak-B")
}

// child does what its standard input says, and prints how many bytes the layer
// has and what it took. Not of rusage: that has the parent's, from before exec.
func child() error {
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return err
	}
	all := append(ours(), exporters...)
	i := slices.IndexFunc(all, func(e exporter) bool { return e.name == o.Exporter })
	if i < 0 {
		return fmt.Errorf("nobody is called %q", o.Exporter)
	}
	var n counter
	if err := encodings[1].write(context.Background(), all[i], o.Scene, &n); err != nil {
		return err
	}
	peak, err := bench.Resident("VmHWM:")
	fmt.Println(int64(n), peak)
	return err
}
