package layer_test

import (
	"archive/tar"
	"bytes"
	"slices"
	"strings"
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

func fifoHeader(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeFifo, Name: name, Mode: 0o600}
}

// seed is a hostile layer for the fuzzer, whose canary is beside the root.
func seed(c hostile) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range c.entries {
		h := e.Header
		h.Name, h.Linkname = strings.ReplaceAll(h.Name, "OUT", "../canary"), strings.ReplaceAll(h.Linkname, "OUT", "../canary")
		h.Size, h.ModTime = int64(len(e.content)), stamp
		if w.WriteHeader(&h) != nil {
			continue
		}
		_, _ = w.Write([]byte(e.content))
	}
	_ = w.Close()
	return b.Bytes()
}
