package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/diff"
)

// comparison is what two overlays have in common, and where they differ most.
type comparison struct {
	Names       [2]string
	Both        int64    // changed paths that both have
	Only        [2]int64 // that only one has
	Directories []difference
}

// difference is what two overlays hold below one directory.
type difference struct {
	Path  string
	Bytes [2]int64
}

// By is how much more the second one holds.
func (d difference) By() int64 { return d.Bytes[1] - d.Bytes[0] }

const (
	mostDifferences = 40
	leastDifference = 1000 // th part of the bigger one's size
)

func compare(a, b Overlay) *comparison {
	c := &comparer{a: a.Tree, b: b.Tree}
	c.Names = [2]string{a.Name, b.Name}
	c.walk("/", 0, 0)
	slices.SortStableFunc(c.Directories, func(x, y difference) int { return cmp.Compare(magnitude(y), magnitude(x)) })
	c.Directories = c.Directories[:min(len(c.Directories), mostDifferences)]
	return &c.comparison
}

func magnitude(d difference) int64 { return max(d.By(), -d.By()) }

type comparer struct {
	comparison
	a, b *survey.Tree
}

// walk counts what is below a directory that both trees have, and notes the children
// in which they differ.
func (c *comparer) walk(path string, i, j int) {
	a, b := i+1, j+1
	for a < c.a.End(i) || b < c.b.End(j) {
		order := 0
		switch {
		case a == c.a.End(i):
			order = 1
		case b == c.b.End(j):
			order = -1
		default:
			order = strings.Compare(c.a.Node(a).Name, c.b.Node(b).Name)
		}
		switch {
		case order < 0:
			n := c.a.Node(a)
			c.Only[0] += n.Sum.Changes()
			c.note(diff.Join(path, n.Name), n.Sum.Bytes, 0)
			a = c.a.End(a)
		case order > 0:
			n := c.b.Node(b)
			c.Only[1] += n.Sum.Changes()
			c.note(diff.Join(path, n.Name), 0, n.Sum.Bytes)
			b = c.b.End(b)
		default:
			c.common(path, a, b)
			a, b = c.a.End(a), c.b.End(b)
		}
	}
}

// common is about a path that both trees have.
func (c *comparer) common(path string, a, b int) {
	x, y := c.a.Node(a), c.b.Node(b)
	switch {
	case x.Kind != 0 && y.Kind != 0:
		c.Both++
	case x.Kind != 0:
		c.Only[0]++
	case y.Kind != 0:
		c.Only[1]++
	}
	at := diff.Join(path, x.Name)
	before := len(c.Directories)
	c.walk(at, a, b)
	if len(c.Directories) == before { // it differs itself, or nothing does
		c.note(at, x.Sum.Bytes, y.Sum.Bytes)
	}
}

func (c *comparer) note(path string, a, b int64) {
	whole := max(c.a.Node(0).Sum.Bytes, c.b.Node(0).Sum.Bytes)
	if d := (difference{path, [2]int64{a, b}}); magnitude(d) > whole/leastDifference {
		c.Directories = append(c.Directories, d)
	}
}
