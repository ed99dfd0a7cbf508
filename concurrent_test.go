package overlaydiff

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestDiff_AtOnce: walks of one diff do not disturb each other.
func TestDiff_AtOnce(t *testing.T) {
	s := mounted(t, "")
	testenv.Do(t, s.Mountpoint, "write a new", "unlink d/b", "create n 1", "create d/n 2")
	for _, engine := range []Choice{Native, Naive} {
		d, err := Open(t.Context(), s, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		want := list(t, d)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 200 {
					if diff := cmp.Diff(want, list(t, d)); diff != "" {
						t.Errorf("%s: beside other walks (-alone +beside):\n%s", engine, diff)
						return
					}
				}
			})
		}
		wg.Wait()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
