package layer_test

import (
	"archive/tar"
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/layer"
)

// TestHeaders_Random holds that headers are byte for byte those of archive/tar, with
// values on both sides of what the fields can hold.
func TestHeaders_Random(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	name := func() string {
		var parts []string
		for range 1 + r.IntN(4) {
			part := strings.Repeat(pick(r, "a", "b", "x.y", "…", "\xff", " "), 1+r.IntN(pick(r, 3, 30, 101)))
			parts = append(parts, part)
		}
		return strings.Join(parts, "/")
	}
	edge := func(bits int) int64 { return pick(r, 0, 1, r.Int64N(1<<bits), 1<<bits-1, 1<<bits, 1<<bits+1) }
	for i := range 20_000 {
		h := tar.Header{
			Format: tar.FormatPAX, Typeflag: pick[byte](r, tar.TypeReg, tar.TypeDir, tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeFifo),
			Name: name(), Mode: r.Int64N(0o10000), Uid: int(edge(21)), Gid: int(edge(21)),
			ModTime: time.Unix(pick(r, -1, edge(33), 1_700_000_000), pick(r, 0, 1, 500_000_000, 999_999_999, r.Int64N(1e9))),
		}
		switch h.Typeflag {
		case tar.TypeReg:
			h.Size = edge(33)
		case tar.TypeDir:
			h.Name = pick(r, h.Name, "") + "/" // the root has no name
		case tar.TypeLink, tar.TypeSymlink:
			h.Linkname = name()
		case tar.TypeChar:
			h.Devmajor, h.Devminor = r.Int64N(1<<12), r.Int64N(1<<20)
		}
		if r.IntN(10) == 0 {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "b\x00"}
		}
		var want bytes.Buffer
		if err := tar.NewWriter(&want).WriteHeader(&h); err != nil {
			t.Fatalf("seed %d, header %d, %+v: %v", seed, i, h, err)
		}
		got, err := layer.EncodeHeader([]byte("before"), &h)
		if diff := cmp.Diff("before"+want.String(), string(got)); err != nil || diff != "" {
			t.Fatalf("seed %d, header %d, %+v: %v %s", seed, i, h, err, diff)
		}
	}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }
