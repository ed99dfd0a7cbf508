package native_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
)

// The changes of an upper directory over one lower layer, read from the directories alone: nothing
// is mounted.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for file, content := range map[string]string{"lower/motd": "welcome", "upper/motd": "welcome back", "upper/new": ""} {
		file = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	ctx := context.Background()
	stack := diff.Stack{
		Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"),
		Features: diff.Features{UserXattr: true}, // as mounted by a user who is not root
	}
	e, err := native.Open(ctx, stack)
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	for change, err := range e.Changes(ctx, diff.Options{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(change)
	}
	// Output:
	// C /motd
	// A /new
}
