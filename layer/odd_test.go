package layer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/oddtar"
)

// Of odd archives, whole, cut off or damaged, there is all or nothing, and nothing
// beside. What is in the trees bench/peers compares with what others make.
func TestApply_Odd(t *testing.T) {
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	applied := 0
	for seed := range uint64(500) {
		a := oddtar.Random(seed)
		cut := a.Data[:int(seed*7919)%len(a.Data)]
		damaged := append([]byte{}, a.Data...)
		damaged[int(seed*104729)%len(damaged)] ^= byte(1 + seed%255)
		for i, data := range [][]byte{a.Data, cut, damaged} {
			for _, form := range []layer.Form{layer.Plain, layer.Overlay} {
				root := filepath.Join(dir, "root")
				_, err := apply(t, root, data, func(o *layer.ApplyOptions) { o.Form = form })
				_, there := os.Lstat(root)
				if (err == nil) != (there == nil) {
					t.Errorf("seed %d.%d, %s: %v, and the tree: %v", seed, i, form, err, there)
				}
				if err == nil {
					applied++
				}
				if err := os.RemoveAll(root); err != nil {
					t.Fatal(err)
				}
				if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
					t.Fatal(fmt.Sprint(seed, names, err))
				}
			}
		}
	}
	if applied < 1000 {
		t.Errorf("%d of 3000 could be applied", applied)
	}
}
