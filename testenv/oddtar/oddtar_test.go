package oddtar_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/oddtar"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// The archives are well-formed: a reader comes to their end. Of what is there to be
// odd each occurs.
func TestRandom(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(3000) {
		a := oddtar.Random(seed)
		if again := oddtar.Random(seed); !bytes.Equal(a.Data, again.Data) {
			t.Fatalf("seed %d: two archives", seed)
		}
		for _, tags := range a.Tags {
			for _, tag := range tags {
				seen[tag]++
			}
		}
		for r := tar.NewReader(bytes.NewReader(a.Data)); ; {
			_, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err != nil {
				t.Fatalf("seed %d: %v; %v", seed, err, a.Tags)
			}
		}
	}
	for _, tag := range []string{
		"v7", "ustar", "pax", "gnu", "star", "busybox", "label", "padded", "no end", "no parent", "again", "global", "link that leads out", "global comment", "global times",
		"global owner", "numbers", "base-256", "signed sum", "large numbers", "negative fraction", "xattr", "apple", "capability", "text acl", "link",
		"link with size", "link says else", "contiguous", "absolute", "directory for another", "v7 directory", "dump directory", "old sparse", "sparse 0.0", "sparse 0.1", "sparse 1.0",
	} {
		if seen[tag] == 0 {
			t.Errorf("no archive has %q", tag)
		}
		delete(seen, tag)
	}
	if len(seen) > 0 {
		t.Errorf("tags that nobody knows: %v", seen)
	}
}
