package native

import (
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// trace records what lookups of a path, component by component, meet in the
// layers.
type trace struct {
	inNew  bool
	sights []sight
	steps  []*lookup // the finished ones: of the root, then of each component
}

// level is that of the component that is looked up; 1 is the first.
func (t *trace) level() int { return len(t.steps) }

// names are the components that were looked up.
func (t *trace) names() (list []string) {
	for _, l := range t.steps[1:] {
		list = append(list, l.name.name)
	}
	return list
}

// end is the lookup of the last component.
func (t *trace) end() *lookup { return t.steps[len(t.steps)-1] }

// sight is what a lookup met in a layer.
type sight struct {
	level, layer int
	inNew        bool
	want         string // see state
	*probe
}

func (t *trace) met(layer int, want string, p *probe) {
	t.sights = append(t.sights, sight{t.level(), layer, t.inNew, want, p})
}

// last returns the last sight of a view that is as asked for.
func (t *trace) last(inNew bool, match func(s sight) bool) (sight, bool) {
	for _, s := range slices.Backward(t.sights) {
		if s.inNew == inNew && match(s) {
			return s, true
		}
	}
	return sight{}, false
}

// marks returns the marks that were read in a layer. root is its directory.
func (t *trace) marks(names *whiteout.Namespace, layer int, root *fswalk.Dir) (marks []diff.Mark) {
	said := map[*probe]bool{} // the two views meet the same
	for _, s := range t.sights {
		if s.layer != layer || said[s.probe] {
			continue
		}
		said[s.probe] = true
		for _, m := range []struct {
			is           bool
			xattr, value string
		}{
			{s.has() == diff.XattrWhiteout, names.Whiteout, ""},
			{s.opaque.value, names.Opaque, "y"},
			{s.metacopy.value, names.Metacopy, ""},
			{s.redir.value != "", names.Redirect, s.redir.value},
		} {
			if m.is {
				marks = append(marks, diff.Mark{At: s.within(root), Xattr: m.xattr, Value: m.value})
			}
		}
	}
	return marks
}

// has says what p is.
func (p *probe) has() diff.Presence {
	switch {
	case p.absent:
		return diff.Nothing
	case p.whiteout && p.ref.Stat.Format() == sys.Regular:
		return diff.XattrWhiteout
	case p.whiteout:
		return diff.Whiteout
	case p.opaque.value:
		return diff.OpaqueDirectory
	case p.metacopy.value:
		return diff.MetacopyFile
	}
	return diff.Presence(p.ref.Entry().Type.String())
}

// place is p as a place in the layer whose directory is root.
func (p *probe) place(root *fswalk.Dir) *diff.Place {
	at := &diff.Place{At: p.within(root), Has: p.has()}
	if !p.absent && !p.whiteout {
		e := p.ref.Entry()
		at.Seen = &e
	}
	return at
}

// within returns the path of p below root.
func (p *probe) within(root *fswalk.Dir) string {
	return "/" + strings.TrimLeft(strings.TrimPrefix(p.ref.Dir.DisplayPath(p.ref.Name), root.DisplayPath("")), "/")
}
