package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"log"
	"os"

	"github.com/overlaydiff/overlaydiff/layer"
)

// A layer with a file and a whiteout, applied to the tree of the layers below.
func ExampleApply() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(dir+"/old", nil, 0o644); err != nil {
		log.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, name := range []string{"new", ".wh.old"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Uid: os.Getuid(), Gid: os.Getgid()}); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	applied, err := layer.Apply(context.Background(), &archive, dir, layer.ApplyOptions{})
	if err != nil {
		log.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(applied.Entries, applied.Whiteouts, entries)
	// Output: 2 1 [- new]
}
