package overlaydiff

import (
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// TestExport_Attributes: what chattr set is no change, and no layer has it; the engines
// say so of what the layer has. The naive one reads views without an upper layer, in
// which the kernel does not heed what overlayfs wrote down of i and a.
func TestExport_Attributes(t *testing.T) {
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Ext4)
	s := diff.Stack{Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	testenv.Tree(t, s.Lower[0], "file f content=x", "dir d", "file plain", "file unchanged")
	s.Mountpoint = testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work})
	testenv.Do(t, s.Mountpoint, "write f y", "create d/new z", "write plain y")
	chattr := func(attribute, name string) {
		if out, err := exec.Command("chattr", attribute, filepath.Join(s.Mountpoint, name)).CombinedOutput(); err != nil {
			t.Fatalf("chattr: %v: %s", err, out)
		}
	}
	for attribute, name := range map[string]string{"+i": "f", "+a": "d/new", "+d": "d"} {
		chattr(attribute, name)
		defer chattr("-"+attribute[1:], name)
	}
	for _, engine := range []Choice{Native, Naive} {
		d, err := Open(t.Context(), s, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		done, err := d.Export(t.Context(), io.Discard, layer.ExportOptions{OnLack: func(l layer.Lack) { got[l.Path] = l.What.String() + ": " + l.Why }})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		letters := map[string]string{"/d": "d"}
		if engine == Native {
			letters["/f"], letters["/d/new"] = "i", "a"
		}
		for path, letter := range letters {
			want[path] = "attributes: the attributes " + letter + " of the file (lsattr)"
		}
		if d := cmp.Diff(want, got); d != "" || done.Inexpressible != int64(len(want)) {
			t.Errorf("%s: %d\n%s", engine, done.Inexpressible, d)
		}
		v, err := d.Verify(t.Context(), VerifyOptions{TempDir: dir})
		if err != nil || !v.Equal || len(v.Inexpressible) != len(want) {
			t.Errorf("%s: verify: %+v, %v", engine, v, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
