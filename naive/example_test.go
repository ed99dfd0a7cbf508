package naive_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/naive"
)

// Two directory trees, of which nothing is known but what they hold.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	tree := func(name, content string) naive.Tree {
		err := os.Mkdir(filepath.Join(dir, name), 0o755)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name, "motd"), []byte(content), 0o644)
		}
		if err != nil {
			log.Fatal(err)
		}
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			log.Fatal(err)
		}
		return naive.Tree{FD: int(f.Fd()), Closer: f, Name: name}
	}
	e := naive.Open(tree("before", "welcome"), tree("after", "welcome back"), naive.ProofNone)
	defer e.Close()
	for change, err := range e.Changes(context.Background(), diff.Options{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(change)
	}
	// Output: C /motd
}
