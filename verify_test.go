package overlaydiff

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// What no layer can say is no difference of a layer that was given, either.
func TestVerify_GivenLayer(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	lower, upper := filepath.Join(dir, "l"), filepath.Join(dir, "u")
	testenv.Tree(t, lower, "dir d xattr.trusted.k=v", "file f")
	testenv.Tree(t, upper, "dir d", "socket s", "file f content=f")
	d, err := Open(t.Context(), diff.Stack{Lower: []string{lower}, Upper: upper}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var made bytes.Buffer
	if _, err := d.Export(t.Context(), &made, layer.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]VerifyOptions{"exported": {}, "given": {Layer: &made}} {
		opts.TempDir = dir
		v, err := d.Verify(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		if !v.Equal || len(v.Inexpressible) != 2 {
			t.Errorf("%s: equal %v, differences %v, inexpressible %v; want two of these and no difference", name, v.Equal, v.Differences, v.Inexpressible)
		}
	}
}
