package layer

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// sample is partly easy and partly hard to compress, and longer than a few blocks.
func sample(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 0, n)
	for len(b) < n {
		b = append(b, strings.Repeat("text of a layer ", r.IntN(1000))...)
		for range r.IntN(5000) {
			b = append(b, byte(r.Uint32()))
		}
	}
	return b[:n]
}

func pack(t *testing.T, c Compression, level int, data []byte, size int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := c.newWriter(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 {
		n, err := w.Write(data[:min(size, len(data))])
		if err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What is packed is read again, by us and by each format's own tool, and equal
// input gives equal bytes.
func TestCompression_RoundTrip(t *testing.T) {
	tools := map[Compression][]string{Gzip: {"gzip", "-dc"}, Zstd: {"zstd", "-dcq"}}
	for _, c := range []Compression{None, Gzip, Zstd} {
		for _, n := range []int{0, 1, gzipBlock - 1, gzipBlock, gzipBlock + 1, 5*gzipBlock + 77} {
			data := sample(n)
			packed := pack(t, c, 0, data, 1<<20)
			r, got, _, err := newReader(bytes.NewReader(packed))
			if err != nil || got != c {
				t.Fatalf("%s of %d bytes: read as %s, %v", c, n, got, err)
			}
			back, err := io.ReadAll(r)
			if cerr := r.Close(); err != nil || cerr != nil || !bytes.Equal(back, data) {
				t.Errorf("%s of %d bytes: %d come back, %v, %v", c, n, len(back), err, cerr)
			}
			before := runtime.GOMAXPROCS(1)
			again := pack(t, c, 0, data, 4099)
			runtime.GOMAXPROCS(before)
			if !bytes.Equal(packed, again) {
				t.Errorf("%s of %d bytes depends on the processors, or how it is written", c, n)
			}
			if tool := tools[c]; tool != nil {
				if _, err := exec.LookPath(tool[0]); err != nil {
					continue
				}
				cmd := exec.Command(tool[0], tool[1:]...)
				cmd.Stdin = bytes.NewReader(packed)
				if out, err := cmd.Output(); err != nil || !bytes.Equal(out, data) {
					t.Errorf("%v: %d of %d bytes, %v", tool, len(out), n, err)
				}
			}
		}
	}
}

func TestCompression_Levels(t *testing.T) {
	data := sample(200_000)
	for _, c := range []Compression{Gzip, Zstd} {
		if fast, best := pack(t, c, 1, data, 1<<20), pack(t, c, 9, data, 1<<20); len(fast) <= len(best) {
			t.Errorf("%s: level 1 makes %d bytes, level 9 %d", c, len(fast), len(best))
		}
	}
	if _, err := Gzip.newWriter(io.Discard, 99); err == nil {
		t.Error("gzip has no level 99")
	}
	if _, err := Compression("lzma").newWriter(io.Discard, 0); err == nil {
		t.Error("lzma is none of ours")
	}
}

// failing takes n bytes.
type failing int

var errFull = errors.New("full")

func (f *failing) Write(b []byte) (int, error) {
	if *f -= failing(len(b)); *f < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// An error of what is written to comes back, and no goroutine stays: TestMain
// looks.
func TestCompression_WriteFails(t *testing.T) {
	data := sample(10 * gzipBlock)
	for _, c := range []Compression{None, Gzip, Zstd} {
		for _, n := range []failing{0, 5, 11, 5000, 300_000} {
			w, err := c.newWriter(&n, 0)
			if err == nil {
				_, err = w.Write(data)
				err = errors.Join(err, w.Close())
			}
			if !errors.Is(err, errFull) {
				t.Errorf("%s: %v", c, err)
			}
		}
	}
}

func TestParseCompression(t *testing.T) {
	for name, want := range map[string]string{
		"":     "application/vnd.oci.image.layer.v1.tar",
		"none": "application/vnd.oci.image.layer.v1.tar",
		"gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
		"zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
	} {
		c, err := ParseCompression(name)
		if err != nil || c.MediaType() != want {
			t.Errorf("%q: %s, %v", name, c.MediaType(), err)
		}
	}
	if _, err := ParseCompression("bzip2"); err == nil {
		t.Error("bzip2 is none of ours")
	}
}
