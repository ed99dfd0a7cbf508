package explore

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/diff"
)

// view is what of a tree is to be seen, and in which order. It knows no screen.
type view struct {
	tree *survey.Tree
	open []bool // by node: what is in it is shown

	byName bool
	hidden map[diff.Kind]bool
	waste  bool   // only what is wasted
	filter string // a pattern, see matcher

	kept   []bool            // by node: the filters leave it; nil: they leave all
	sorted map[int32][]int32 // children in the order that they are shown in

	rows   []row
	cursor int
}

// row is a line of the tree.
type row struct {
	node  int32
	depth int32
}

func newView(t *survey.Tree) *view {
	v := &view{tree: t, open: make([]bool, t.Len()), hidden: map[diff.Kind]bool{}, sorted: map[int32][]int32{}}
	v.open[0] = true
	v.refilter()
	return v
}

// node returns the number of the node that the cursor is on.
func (v *view) node() int { return int(v.rows[v.cursor].node) }

// path returns the path that the cursor is on.
func (v *view) path() string { return v.tree.Path(v.node()) }

// isDir reports whether there is something to open at a node.
func (v *view) isDir(i int) bool { return v.tree.End(i) > i+1 }

// refilter finds anew what the filters leave.
func (v *view) refilter() {
	v.kept = nil
	clear(v.sorted)
	if v.filter != "" || v.waste || len(v.hidden) > 0 {
		v.kept = make([]bool, v.tree.Len())
		matches := matcher(v.filter)
		v.keep(0, "/", matches == nil, matches)
		v.kept[0] = true
	}
	v.layout()
}

// keep marks what the filters leave of what is below a node; under: the pattern
// matches it, or something above it.
func (v *view) keep(i int, at string, under bool, matches func(path, name string) bool) bool {
	left := false
	for c := range v.tree.Children(i) {
		n := v.tree.Node(c)
		p, hit := "", under
		if !hit {
			p = diff.Join(at, n.Name)
			hit = matches(p, n.Name)
		}
		here := hit && (n.Kind != 0 || n.Waste != 0) && !v.hidden[n.Kind] && (!v.waste || n.Waste != 0)
		if v.keep(c, p, hit, matches) || here {
			v.kept[c], left = true, true
		}
	}
	return left
}

// matcher returns what decides whether a pattern matches; nil: there is none. With a
// wildcard, it is one of path.Match for the whole name, or path if it has a slash;
// else, and if it is none, a part of the name. Without capitals, case does not matter.
func matcher(pattern string) func(path, name string) bool {
	if pattern == "" {
		return nil
	}
	fold := func(s string) string { return s }
	if strings.ToLower(pattern) == pattern {
		fold = strings.ToLower
	}
	whole := strings.Contains(pattern, "/")
	_, err := path.Match(pattern, "")
	glob := err == nil && strings.ContainsAny(pattern, "*?[")
	return func(p, name string) bool {
		if whole {
			name = p
		}
		name = fold(name)
		if !glob {
			return strings.Contains(name, pattern)
		}
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	}
}

// children returns what is right below a node as it is shown.
func (v *view) children(i int32) []int32 {
	if list, ok := v.sorted[i]; ok {
		return list
	}
	var list []int32
	for c := range v.tree.Children(int(i)) {
		if v.kept == nil || v.kept[c] {
			list = append(list, int32(c)) //nolint:gosec // nodes have such numbers
		}
	}
	if !v.byName {
		slices.SortStableFunc(list, func(a, b int32) int { return v.compare(v.tree.Node(int(a)), v.tree.Node(int(b))) })
	}
	v.sorted[i] = list
	return list
}

// compare sorts the largest first, by what is looked for.
func (v *view) compare(a, b *survey.Node) int {
	wasted := cmp.Compare(b.Sum.CopyUps+b.Sum.Kept, a.Sum.CopyUps+a.Sum.Kept)
	if v.waste {
		return wasted
	}
	return cmp.Or(cmp.Compare(b.Sum.Bytes, a.Sum.Bytes), wasted)
}

// layout finds the rows anew. The cursor stays on its node, or goes to the nearest
// one above that is left.
func (v *view) layout() {
	at := 0
	if len(v.rows) > 0 {
		at = v.node()
	}
	v.rows = v.rows[:0]
	v.rows = append(v.rows, row{})
	v.lay(0, 1)
	v.seek(at)
}

func (v *view) lay(i, depth int32) {
	if !v.open[i] {
		return
	}
	for _, c := range v.children(i) {
		v.rows = append(v.rows, row{c, depth})
		v.lay(c, depth+1)
	}
}

// seek puts the cursor on a node, or on the nearest one above that has a row.
func (v *view) seek(i int) {
	rows := make(map[int]int)
	for p := i; p >= 0; p = int(v.tree.Node(p).Parent) {
		rows[p] = -1
	}
	for at, r := range v.rows {
		if _, wanted := rows[int(r.node)]; wanted {
			rows[int(r.node)] = at
		}
	}
	for p := i; p >= 0; p = int(v.tree.Node(p).Parent) {
		if rows[p] >= 0 {
			v.cursor = rows[p]
			return
		}
	}
	v.cursor = 0
}

// move moves the cursor by so many rows.
func (v *view) move(by int) { v.cursor = min(max(v.cursor+by, 0), len(v.rows)-1) }

// toggle opens the directory under the cursor, or closes it.
func (v *view) toggle(open bool) {
	if i := v.node(); v.isDir(i) && v.open[i] != open {
		v.open[i] = open
		v.layout()
	}
}

// up goes to the directory that has what the cursor is on.
func (v *view) up() {
	if p := v.tree.Node(v.node()).Parent; p >= 0 {
		v.seek(int(p))
	}
}

// all opens all directories, or closes all but the root.
func (v *view) all(open bool) {
	for i := range v.open {
		v.open[i] = open
	}
	v.open[0] = true
	v.layout()
}

// reveal opens what is above a node and puts the cursor on it.
func (v *view) reveal(i int) {
	changed := false
	for p := v.tree.Node(i).Parent; p >= 0; p = v.tree.Node(int(p)).Parent {
		changed = changed || !v.open[p]
		v.open[p] = true
	}
	if changed {
		v.layout()
	}
	v.seek(i)
}

// search goes to the next node, or the one before, whose name the pattern matches,
// also if it is in a closed directory; from the end it goes on at the beginning.
func (v *view) search(pattern string, back bool) bool {
	matches := matcher(pattern)
	if matches == nil {
		return false
	}
	var order []int32
	var collect func(i int32)
	collect = func(i int32) {
		order = append(order, i)
		for _, c := range v.children(i) {
			collect(c)
		}
	}
	collect(0)
	here := slices.Index(order, v.rows[v.cursor].node)
	step := 1
	if back {
		step = -1
	}
	whole := strings.Contains(pattern, "/")
	for k := 1; k <= len(order); k++ {
		i := int(order[((here+k*step)%len(order)+len(order))%len(order)])
		p := ""
		if whole {
			p = v.tree.Path(i)
		}
		if matches(p, v.tree.Node(i).Name) {
			v.reveal(i)
			return true
		}
	}
	return false
}

// replace shows a newer tree in the place of the old one: what was open stays open,
// and the cursor stays on its path.
func (v *view) replace(t *survey.Tree) {
	at := v.path()
	open := make([]bool, t.Len())
	v.carry(t, open, 0, 0)
	v.tree, v.open = t, open
	v.rows = nil
	v.refilter()
	i, _ := t.Find(at)
	v.seek(i)
}

// carry opens in a newer tree what is open here: both have children in path order.
func (v *view) carry(t *survey.Tree, open []bool, from, to int) {
	open[to] = v.open[from]
	a, b := from+1, to+1
	for a < v.tree.End(from) && b < t.End(to) {
		switch strings.Compare(v.tree.Node(a).Name, t.Node(b).Name) {
		case -1:
			a = v.tree.End(a)
		case 1:
			b = t.End(b)
		default:
			v.carry(t, open, a, b)
			a, b = v.tree.End(a), t.End(b)
		}
	}
}
