package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/diff"
)

// How much of a tree a page has at the most.
const (
	mostCells = 20_000 // of the map
	mostRows  = 500    // of the table of files
	mostWaste = 30     // of each kind of waste
)

// cell is a rectangle of the map. Its names are short, there are many of them.
type cell struct {
	Name  string  `json:"n"`
	Bytes int64   `json:"b"`
	Kind  string  `json:"k,omitempty"` // A or C; of a directory on the way nothing
	Waste bool    `json:"w,omitempty"`
	Dir   bool    `json:"d,omitempty"`
	In    []*cell `json:"c,omitempty"`
	More  int     `json:"m,omitempty"` // this many entries, added up
}

// cells returns the biggest nodes of a tree, the rest of each directory added up,
// and how many changes are in these rests. What has no bytes is left out.
func cells(t *survey.Tree, most int) (root *cell, small int) {
	least := int64(1)
	if t.Len() > most {
		sizes := make([]int64, t.Len())
		for i := range sizes {
			sizes[i] = t.Node(i).Sum.Bytes
		}
		slices.SortFunc(sizes, func(a, b int64) int { return cmp.Compare(b, a) })
		least = max(sizes[most]+1, 1) // so that no more than most are as big
	}
	c := &celler{t: t, least: least}
	return c.cell(0), c.small
}

type celler struct {
	t     *survey.Tree
	least int64
	small int
}

func (c *celler) cell(i int) *cell {
	n := c.t.Node(i)
	x := &cell{Name: diff.QuotePath(n.Name), Bytes: n.Sum.Bytes, Waste: n.Waste != 0, Dir: c.t.End(i) > i+1}
	if n.Kind != 0 {
		x.Kind = string(n.Kind.Letter())
	}
	rest := &cell{}
	for child := range c.t.Children(i) {
		bytes := c.t.Node(child).Sum.Bytes
		switch {
		case bytes >= c.least:
			x.In = append(x.In, c.cell(child))
		case bytes > 0:
			rest.Bytes += bytes
			rest.More += int(c.t.Node(child).Sum.Changes())
		}
	}
	slices.SortStableFunc(x.In, func(a, b *cell) int { return cmp.Compare(b.Bytes, a.Bytes) })
	if rest.More > 0 {
		x.In = append(x.In, rest)
		c.small += rest.More
	}
	return x
}

// biggest returns the nodes for which size is largest, largest first.
func biggest(t *survey.Tree, most int, size func(*survey.Node) int64) []entry {
	type one struct {
		node int
		size int64
	}
	var list []one
	bySize := func(a, b one) int { return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.node, b.node)) }
	for i := range t.Len() {
		if s := size(t.Node(i)); s > 0 {
			list = append(list, one{i, s})
		}
		if len(list) >= 8*most+1024 { // enough to make it worth while
			slices.SortFunc(list, bySize)
			list = list[:most]
		}
	}
	slices.SortFunc(list, bySize)
	list = list[:min(len(list), most)]
	entries := make([]entry, len(list))
	for k, o := range list {
		n := t.Node(o.node)
		entries[k] = entry{Path: t.Path(o.node), Kind: n.Kind, Bytes: o.size}
		if n.Waste != 0 {
			entries[k].Waste = strings.ReplaceAll(n.Waste.String(), "_", " ")
		}
	}
	return entries
}

// wastes returns what is wasted, by kind, if it is known.
func wastes(t *survey.Tree) []wasted {
	if t.NoWaste != nil {
		return nil
	}
	list := []wasted{
		{
			Title: "Copied up, not changed", What: "Files of the upper directory that are equal to those below.",
			Remedy: "Something opened them for writing and wrote nothing; they can be deleted from the upper directory of a stopped container.",
		},
		{
			Title: "Only the metadata changed", What: "Files that are there whole although only mode, owner, times or attributes differ.",
			Remedy: "Mount with metacopy=on, or change them in the build step that adds them.",
		},
		{
			Title: "Deleted, kept below", What: "Files that this layer deletes and that the layers below still carry.",
			Remedy: "Delete them in the build step that adds them, or don't add them.",
		},
	}
	for k := range list {
		kind := diff.WasteKind(k + 1) //nolint:gosec // three
		of := func(n *survey.Node) int64 {
			switch {
			case n.Waste != kind:
				return 0
			case kind == diff.Deleted:
				return n.Sum.Kept
			}
			return n.Sum.CopyUps
		}
		for i := range t.Len() {
			if n := t.Node(i); n.Waste == kind {
				list[k].Count++
				list[k].Bytes += of(n)
			}
		}
		list[k].Biggest = biggest(t, mostWaste, of)
	}
	return list
}
