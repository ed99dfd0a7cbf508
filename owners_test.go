package overlaydiff

import (
	"testing"

	"github.com/overlaydiff/overlaydiff/diff/difftest"
)

// idMaps are maps of random id-mapped layers.
var idMaps = []string{
	"0:100000:65536",
	"0:1000:1,1:200000:999,1000:0:1,1001:300000:1000", // the container's 1000 is the host's root
	"0:1:2000",            // overlaps with the host's
	"0:0:1,1:100000:1000", // root is root
	"0:400000:1001,1001:9:1",
}

// Random overlays whose lower layers are id-mapped: both engines against the reference
// on the mount, with the layers described by their maps and by where they are mounted.
func TestRandom_IDMapped(t *testing.T) {
	difftest.RunRandom(t, difftest.RandomOptions{IDMaps: idMaps},
		map[string]difftest.Opener{"native": opener(Native), "naive": opener(Naive), "auto": opener(Auto)})
}

// Their layers, replayed in several ways.
func TestLayers_RandomIDMapped(t *testing.T) {
	difftest.RunRandom(t, difftest.RandomOptions{Cases: 15, IDMaps: idMaps, Checks: map[string]difftest.Check{"layer": checkLayer}}, nil)
}
