package overlaydiff_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/overlaydiff/overlaydiff"
)

// What changed between two directory trees. [overlaydiff.FromMount] and [overlaydiff.Open] do the
// same for a mounted overlay.
func ExampleOpenTrees() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	before, after := filepath.Join(dir, "before"), filepath.Join(dir, "after")
	write(before+"/etc/motd", "welcome")
	write(before+"/tmp/x", "")
	write(after+"/etc/motd", "welcome back")
	write(after+"/etc/new", "")

	ctx := context.Background()
	d, err := overlaydiff.OpenTrees(ctx, before, after, overlaydiff.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	for change, err := range d.Changes(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(change)
	}
	// Output:
	// C /etc/motd
	// A /etc/new
	// D /tmp
}

func write(file, content string) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		log.Fatal(err)
	}
}
