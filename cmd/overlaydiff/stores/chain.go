//go:build linux

package stores

import (
	"context"
	"fmt"

	"github.com/overlaydiff/overlaydiff/diff"
)

// maxDepth is how many layers an image can have: overlayfs takes 500, Docker
// makes 128 at most.
const maxDepth = 500

// chains finds the layers of images. What it found it remembers, since
// containers of one image share layers.
type chains struct {
	// read returns a layer and the name of the one below, "" if there is none.
	read  func(name string) (l Layer, parent string, err error)
	known map[string]found
	left  *int // how many layers may still be listed; nil: any number
}

type found struct {
	layer  Layer
	parent string
	err    error
}

func (m mounter) newChains(read func(string) (Layer, string, error)) *chains {
	return &chains{read: read, known: map[string]found{}, left: m.layersLeft}
}

// of returns the layer top and all below it, topmost first. With an error, it
// returns those above the one that is missing.
func (c *chains) of(ctx context.Context, top string) ([]Layer, error) {
	var layers []Layer
	seen := map[string]bool{}
	for name := top; name != ""; {
		switch {
		case ctx.Err() != nil:
			return layers, ctx.Err()
		case seen[name]:
			return layers, fmt.Errorf("find the layers below %s: its parents form a circle: the store is damaged", diff.QuotePath(short(top)))
		case len(layers) == maxDepth:
			return layers, fmt.Errorf("find the layers below %s: there are more than %d: the store is damaged", diff.QuotePath(short(top)), maxDepth)
		}
		seen[name] = true
		f, ok := c.known[name]
		if !ok {
			f.layer, f.parent, f.err = c.read(name)
			c.known[name] = f
		}
		if f.err != nil {
			return layers, f.err
		}
		if c.left != nil {
			if *c.left--; *c.left < 0 {
				return layers, fmt.Errorf("find the layers below %s: the containers of the store have more than %d together: mend the store", diff.QuotePath(short(top)), maxUsersLayers)
			}
		}
		layers = append(layers, f.layer)
		name = f.parent
	}
	return layers, nil
}

// dirs returns the layers' directories.
func dirs(layers []Layer) []string {
	var list []string
	for _, l := range layers {
		list = append(append(list, l.Dir), l.Below...)
	}
	return list
}
