package layer_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/overlaydiff/overlaydiff/layer"
)

func digestOf(b []byte) digest.Digest { return digest.FromBytes(b) }

func sortStrings(s []string) { slices.Sort(s) }

// compress packs data as a layer.
func compress(tb testing.TB, c layer.Compression, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := layer.NewWriter(c, &b, 0)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}
