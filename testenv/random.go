package testenv

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Case is a layer stack as the operations that made it.
type Case struct {
	Seed uint64
	// Options are those of all the overlay mounts of the case.
	Options string
	// Layers are the layers, bottom first. The operations of the first are done
	// on a plain directory, those of each other one through an overlay mount
	// over the layers before it; the last layer is the upper one.
	Layers [][]Op
}

// Random returns the case of a seed for mounts with these options: up to ten
// lower layers and an upper one on few names, so that the layers collide often.
// Most operations are possible where they come; some are not, on purpose, and
// some because the generator's picture of the tree has its limits: [Attempt] them.
func Random(seed uint64, options string) *Case {
	g := newGenerator(seed, options)
	c := &Case{Seed: seed, Options: options}
	lowers := []int{1, 2, 3, 5, 10}[g.IntN(5)]
	for layer := range lowers + 1 {
		n := 6 + g.IntN(16)
		switch layer {
		case 0:
			n += 24 // nothing is there yet
		case lowers:
			n += 6 // the one whose changes are asked for
		}
		c.Layers = append(c.Layers, g.layer(n))
	}
	return c
}

// Upper returns the operations of the upper layer.
func (c *Case) Upper() []Op { return c.Layers[len(c.Layers)-1] }

// Ops returns how many operations all layers have.
func (c *Case) Ops() (n int) {
	for _, ops := range c.Layers {
		n += len(ops)
	}
	return n
}

// String returns the case as a script, one operation a line; [ParseCase] reads it.
func (c *Case) String() string {
	var b strings.Builder
	if c.Seed != 0 {
		fmt.Fprintf(&b, "# seed %d\n", c.Seed)
	}
	if c.Options != "" {
		fmt.Fprintf(&b, "options %s\n", c.Options)
	}
	for i, ops := range c.Layers {
		b.WriteString("layer")
		if i == len(c.Layers)-1 {
			b.WriteString(" upper")
		}
		b.WriteString("\n")
		for _, op := range ops {
			fmt.Fprintf(&b, "\t%s\n", op)
		}
	}
	return b.String()
}

// ParseCase reads a script: a line "options OPTIONS" or none, and a line "layer"
// for each layer, bottom first, followed by its operations. As in [Tree], empty
// lines and lines that begin with # say nothing.
func ParseCase(script string) (*Case, error) {
	c := &Case{}
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || line[0] == '#':
		case word == "options":
			c.Options = strings.TrimSpace(rest)
		case word == "layer":
			c.Layers = append(c.Layers, nil)
		case len(c.Layers) == 0:
			return nil, fmt.Errorf("script line %q: no layer yet", line)
		default:
			op, err := ParseOp(line)
			if err != nil {
				return nil, err
			}
			top := len(c.Layers) - 1
			c.Layers[top] = append(c.Layers[top], op)
		}
	}
	if len(c.Layers) < 2 {
		return nil, fmt.Errorf("script: %d layers, want a lower and an upper one at least", len(c.Layers))
	}
	return c, nil
}

// Lowers makes the lower layers as directories in dir and returns them topmost
// first.
func (c *Case) Lowers(tb testing.TB, dir string) []string {
	tb.Helper()
	var lowers []string
	for i, ops := range c.Layers[:len(c.Layers)-1] {
		layer := filepath.Join(dir, fmt.Sprintf("lower%d", i))
		root := layer
		if i == 0 {
			Tree(tb, layer)
		} else {
			root = Mount(tb, Overlay{Lower: lowers, Upper: layer, Options: c.Options})
		}
		if err := Attempt(root, ops); err != nil {
			tb.Fatalf("%v, in\n%s", err, c)
		}
		if i > 0 {
			Unmount(tb, root)
		}
		lowers = slices.Insert(lowers, 0, layer)
	}
	return lowers
}
