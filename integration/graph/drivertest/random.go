package drivertest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/integration/graph"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// testRandom has layers of random edits. OVERLAYDIFF_SEED=N runs one case alone,
// OVERLAYDIFF_CASES=N so many.
func testRandom(t *testing.T, open Opener) {
	cases, seed := 20, rand.Uint64N(1<<48)
	if n, err := strconv.ParseUint(os.Getenv("OVERLAYDIFF_SEED"), 10, 64); err == nil {
		cases, seed = 1, n
	}
	if n, err := strconv.Atoi(os.Getenv("OVERLAYDIFF_CASES")); err == nil {
		cases = n
	}
	carried := 0
	for i := range cases {
		t.Run(fmt.Sprintf("seed=%d", seed+uint64(i)), func(t *testing.T) {
			carried += start(t, open, 0).random(testenv.Random(seed+uint64(i), ""))
		})
	}
	if carried == 0 && cases > 3 {
		t.Errorf("of %d cases no layer could be carried", cases)
	}
}

// random makes a case's layers and returns how many could be carried.
func (s suite) random(c *testenv.Case) (carried int) {
	// What is on nothing may be shown as it is, marks and all: no edit is done there.
	const ground = "ground"
	s.must(s.Create(ground, ""))
	parent := ground
	name := func(i int) string { return fmt.Sprint("layer", i) }
	for i, ops := range c.Layers {
		s.create(name(i), parent, func(dir string) {
			if err := testenv.Attempt(dir, ops); err != nil {
				s.Fatalf("%v, in\n%s", err, c)
			}
		})
		parent = name(i)
	}
	top := name(len(c.Layers) - 1)
	for _, parent := range slices.Compact([]string{name(len(c.Layers) - 2), name(0), ""}) {
		s.checkChanges(top, parent)
		s.checkSize(top, parent)
		carried += s.replayRandom(top, parent, cmp.Or(parent, ground))
	}
	if s.Failed() {
		s.Logf("OVERLAYDIFF_SEED=%d runs this case:\n%s", c.Seed, c)
	}
	return carried
}

// replayRandom is replay of layers that may have what no archive can say. It returns 1
// if there is an archive.
func (s suite) replayRandom(id, parent, on string) int {
	s.Helper()
	var lacks []string
	d, err := graph.Open(s.Context(), s, id, parent, overlaydiff.Options{})
	s.must(err)
	_, err = d.Export(s.Context(), io.Discard, layer.ExportOptions{OnLack: func(l layer.Lack) { lacks = append(lacks, l.Path) }})
	s.must(d.Close())
	if err != nil {
		s.checkRefused(id, parent, err)
		return 0
	}
	l := difftest.Layer{Archive: s.archive(id, parent), Lacks: lacks}
	again := "again-from-" + parent
	s.must(s.Create(again, on))
	_, err = s.ApplyDiff(again, parent, bytes.NewReader(l.Archive))
	s.must(err)
	s.show(again, func(got string) {
		s.show(id, func(want string) {
			if err := l.Compare(got, want); err != nil {
				s.Errorf("the diff from %q to %q, replayed: %v", parent, id, err)
			}
		})
	})
	if len(lacks) == 0 {
		s.checkLinks(again, id, l.Archive)
	}
	return 1
}

// checkRefused makes sure that the driver's stream ends with the error, too, which must
// be that of a name that no archive can have.
func (s suite) checkRefused(id, parent string, err error) {
	s.Helper()
	var want, got *layer.ReservedError
	r, oerr := s.Diff(id, parent)
	s.must(oerr)
	_, rerr := io.Copy(io.Discard, r)
	s.must(r.Close())
	if !errors.As(err, &want) || !errors.As(rerr, &got) || *want != *got {
		s.Errorf("the diff from %q to %q: %v, as a stream: %v", parent, id, err, rerr)
	}
}
