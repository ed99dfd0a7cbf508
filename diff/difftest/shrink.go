package difftest

import (
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// shrink returns a smaller case that still fails: without layers, mount options
// and operations that it can do without. The answer is minimal in that nothing
// more can be taken away alone, unless fails loses its patience and says no.
func shrink(c *testenv.Case, fails func(*testenv.Case) bool) *testenv.Case {
	for {
		before := weight(c)
		for _, smaller := range []func(*testenv.Case, int) *testenv.Case{withoutLayer, mergedLayers, withoutOption} {
			for i := 0; ; {
				s := smaller(c, i)
				if s == nil {
					break
				}
				if fails(s) {
					c = s
				} else {
					i++
				}
			}
		}
		for chunk := max(c.Ops()/2, 1); chunk > 0; chunk /= 2 {
			for from := 0; from < c.Ops(); {
				if s := withoutOps(c, from, chunk); fails(s) {
					c = s
				} else {
					from += chunk
				}
			}
		}
		if weight(c) == before {
			return c
		}
	}
}

func weight(c *testenv.Case) int { return c.Ops() + len(c.Layers) + len(c.Options) }

// withoutLayer leaves the layer i out; nil means that there is none to leave out.
func withoutLayer(c *testenv.Case, i int) *testenv.Case {
	if len(c.Layers) <= 2 || i >= len(c.Layers) {
		return nil
	}
	return &testenv.Case{Options: c.Options, Layers: slices.Delete(slices.Clone(c.Layers), i, i+1)}
}

// mergedLayers has what is done in the layer i+1 done in the layer i.
func mergedLayers(c *testenv.Case, i int) *testenv.Case {
	if len(c.Layers) <= 2 || i+1 >= len(c.Layers) {
		return nil
	}
	s := withoutLayer(c, i+1)
	s.Layers[i] = slices.Concat(c.Layers[i], c.Layers[i+1])
	return s
}

func withoutOption(c *testenv.Case, i int) *testenv.Case {
	options := strings.Split(c.Options, ",")
	if c.Options == "" || i >= len(options) {
		return nil
	}
	return &testenv.Case{Options: strings.Join(slices.Delete(options, i, i+1), ","), Layers: c.Layers}
}

// withoutOps leaves out n operations, counted through all layers.
func withoutOps(c *testenv.Case, from, n int) *testenv.Case {
	s := &testenv.Case{Options: c.Options}
	for _, ops := range c.Layers {
		lo, hi := min(max(from, 0), len(ops)), min(max(from+n, 0), len(ops))
		s.Layers = append(s.Layers, slices.Concat(ops[:lo], ops[hi:]))
		from -= len(ops)
	}
	return s
}
