package overlaydiff

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestExport_Reproducible: the same changes made twice, on every file system, at
// different times, give the same bytes.
func TestExport_Reproducible(t *testing.T) {
	testenv.RequireRoot(t)
	first := map[layer.Compression][]byte{}
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for range 2 {
			dir := testenv.Scratch(t, fs)
			s := diff.Stack{Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
			testenv.Tree(t, s.Lower[0], "file a/old content=x", "file a/gone content=x", "file b content=x", "link c b", "link d b", "dir z")
			s.Mountpoint = testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work, Options: "index=off"})
			testenv.Do(t, s.Mountpoint, "write a/old y", "unlink a/gone", "open c", "mkdir n", "create n/one 1", "link n/one n/two", "setxattr b trusted.z=1",
				"setxattr b trusted.a=2", "mknod p fifo", "symlink l to", "mkdir z/y", "create z/y/x x", "utimes l 77.5", "rename z/y z/w")
			for _, engine := range []Choice{Native, Naive} {
				d, err := Open(t.Context(), s, Options{Engine: engine})
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range []layer.Compression{layer.None, layer.Gzip, layer.Zstd} {
					var b bytes.Buffer
					if _, err := d.Export(t.Context(), &b, layer.ExportOptions{Compression: c, Latest: time.Unix(1_500_000_000, 0)}); err != nil {
						t.Fatal(err)
					}
					if first[c] == nil {
						first[c] = b.Bytes()
					}
					if !bytes.Equal(first[c], b.Bytes()) {
						t.Errorf("%s, %s: %d bytes that are others than the first %d", engine, c, b.Len(), len(first[c]))
					}
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
