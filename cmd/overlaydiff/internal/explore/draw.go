package explore

import (
	"fmt"
	"strings"

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/uniseg"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/diff"
)

// stylesOf returns how looks are drawn.
func stylesOf(noColor bool) (s [wasted + 1]tcell.Style) {
	d := tcell.StyleDefault
	s[strong], s[faint] = d.Bold(true), d.Dim(true)
	if noColor {
		s[modified], s[added], s[deleted], s[wasted] = d.Bold(true), d, d, d
		return s
	}
	s[added], s[modified] = d.Foreground(tcell.ColorGreen), d.Foreground(tcell.ColorOlive)
	s[deleted], s[wasted] = d.Foreground(tcell.ColorMaroon), d.Foreground(tcell.ColorPurple)
	return s
}

// area is a part of the screen.
type area struct{ x, y, w, h int }

// put writes text from column x of an area's row on, and returns the column after
// it. What does not fit is left out.
func (a *app) put(in area, x, row int, text string, style tcell.Style) int {
	if row < 0 || row >= in.h {
		return x
	}
	for text != "" && x < in.w {
		width := uniseg.StringWidth(firstCluster(text))
		if x+width > in.w {
			break
		}
		rest, w := a.screen.Put(in.x+x, in.y+row, text, style)
		if len(rest) >= len(text) {
			break
		}
		text, x = rest, x+max(w, 0)
	}
	return x
}

func firstCluster(s string) string {
	cluster, _, _, _ := uniseg.FirstGraphemeClusterInString(s, -1)
	return cluster
}

// fill writes a row to its end.
func (a *app) fill(in area, row int, text string, style tcell.Style) {
	x := a.put(in, 0, row, text, style)
	for ; x < in.w && row >= 0 && row < in.h; x++ {
		a.screen.SetContent(in.x+x, in.y+row, ' ', nil, style)
	}
}

// wide reports whether the details have room beside the tree.
func (a *app) wide() bool {
	w, _ := a.screen.Size()
	return w >= 100
}

// heads is how many lines are above the tree: the less, the smaller the screen.
func (a *app) heads() int {
	_, h := a.screen.Size()
	return min(max(h-4, 0), 3)
}

// page is how many rows of the tree, or lines of the details, fit.
func (a *app) page() int {
	_, h := a.screen.Size()
	return max(h-a.heads()-1, 1)
}

func (a *app) draw() {
	a.examine()
	a.screen.Clear()
	w, h := a.screen.Size()
	all := area{0, 0, w, h}
	body := area{0, a.heads(), w, a.page()}
	a.screen.HideCursor()
	switch {
	case a.help:
		a.drawHelp(area{0, 0, w, h - 1})
	case a.view == nil:
		a.put(all, 1, 0, a.src.Name, a.styles[strong])
		a.put(all, 1, 1, "reading… "+human.Plural(int64(a.found), "change", "changes"), a.styles[faint])
	case a.detail.shown && !a.wide():
		a.drawHeads(all, 0)
		a.drawDetails(body)
	case a.detail.shown:
		left := w / 2
		a.drawHeads(all, left-1)
		a.drawTree(area{0, body.y, left - 1, body.h})
		for y := range body.h {
			a.screen.SetContent(left-1, body.y+y, '│', nil, a.styles[faint])
		}
		a.drawDetails(area{left + 1, body.y, w - left - 1, body.h})
	default:
		a.drawHeads(all, w)
		a.drawTree(body)
	}
	a.drawFoot(area{0, h - 1, w, 1})
	a.screen.Show()
}

// drawHeads writes the lines above: what is explored, the sums, the columns of a
// tree of that width.
func (a *app) drawHeads(in area, tree int) {
	lines := a.heads()
	if lines == 0 {
		return
	}
	s := a.view.tree.Node(0).Sum
	right := ""
	switch {
	case a.reading:
		right = "reading… " + human.Count(int64(a.found))
	case a.live:
		right = "live"
	}
	if raced := a.view.tree.Raced; raced > 0 {
		right = strings.TrimSpace(right + "  " + human.Count(raced) + " raced")
	}
	if unread := a.view.tree.Unreadable; unread > 0 {
		right = strings.TrimSpace(right + "  " + human.Plural(unread, "path unreadable", "paths unreadable"))
	}
	a.put(in, in.w-len([]rune(right))-1, 0, right, a.styles[modified])
	a.put(area{in.x, in.y, in.w - len([]rune(right)) - 2, in.h}, 1, 0, a.src.Name+"  ("+a.src.Engine()+" engine)", a.styles[strong])
	if lines > 1 {
		x := 1
		for _, part := range a.sums(s) {
			x = a.put(in, x, 1, part.text, a.styles[part.look]) + 2
		}
	}
	if lines > 2 && tree > 0 {
		text := a.columns(tree, "SIZE", "WASTE", "PART") + "  NAME"
		if a.view.byName {
			text += " (sorted by it)"
		}
		a.put(in, 0, 2, text, a.styles[faint])
	}
}

// sums says what there is, and what is not shown, before what may not fit.
func (a *app) sums(s survey.Sum) []line {
	parts := []line{
		{human.Bytes(s.Bytes), strong},
		{"A " + human.Count(int64(s.Added)), added}, {"C " + human.Count(int64(s.Modified)), modified}, {"D " + human.Count(int64(s.Deleted)), deleted},
	}
	v := a.view
	if v.waste {
		parts = append(parts, line{"[only waste]", strong})
	}
	if v.filter != "" {
		parts = append(parts, line{"[only " + harmless(v.filter) + "]", strong})
	}
	for k := diff.Add; k <= diff.Delete; k++ {
		if v.hidden[k] {
			parts = append(parts, line{"[no " + string(k.Letter()) + "]", strong})
		}
	}
	if s.CopyUps > 0 {
		parts = append(parts, line{human.Bytes(s.CopyUps) + " copied up for nothing", wasted})
	}
	if s.Kept > 0 {
		parts = append(parts, line{human.Bytes(s.Kept) + " deleted, kept below", wasted})
	}
	return parts
}

// columns lines the numbers up that stand before a name; narrow screens have fewer.
func (a *app) columns(width int, size, waste, part string) string {
	switch {
	case width < 40:
		return ""
	case width < 60:
		return fmt.Sprintf("%10s", size)
	}
	return fmt.Sprintf("%10s %10s  %-8s", size, waste, part)
}

func (a *app) drawTree(in area) {
	v := a.view
	a.top = min(max(a.top, v.cursor-in.h+1), v.cursor)
	a.top = max(min(a.top, len(v.rows)-in.h), 0)
	for y := range in.h {
		if at := a.top + y; at < len(v.rows) {
			a.drawRow(in, y, v.rows[at], at == v.cursor)
		}
	}
	if len(v.rows) == 1 && in.h > 1 {
		text := "nothing was changed"
		if v.kept != nil {
			text = "nothing of this kind; Esc shows all"
		}
		a.put(in, 2, 1, text, a.styles[faint])
	}
}

// drawRow writes a line of the tree.
func (a *app) drawRow(in area, y int, r row, current bool) {
	v := a.view
	n := v.tree.Node(int(r.node))
	look := looks[n.Kind]
	style, dim, waste := a.styles[look], a.styles[faint], a.styles[wasted]
	if current {
		reverse := tcell.StyleDefault.Reverse(!a.detail.focus).Underline(a.detail.focus)
		a.fill(in, y, "", reverse)
		style, dim, waste = reverse, reverse, reverse
	}
	size, wastes := human.Bytes(n.Sum.Bytes), ""
	if n.Kind == diff.Delete {
		size = "-"
	}
	if w := n.Sum.CopyUps + n.Sum.Kept; w > 0 {
		wastes = human.Bytes(w)
	}
	x := a.put(in, 0, y, a.columns(in.w, size, wastes, part(v.tree, n)), dim)
	if x > 0 {
		x += 2
	}
	// What is deep is not pushed off the screen.
	x += min(2*int(r.depth), max(0, in.w-x-20))
	switch {
	case !v.isDir(int(r.node)):
		x += 2
	case v.open[r.node]:
		x = a.put(in, x, y, "▾ ", dim)
	default:
		x = a.put(in, x, y, "▸ ", dim)
	}
	x = a.put(in, x, y, letter(n)+" ", style)
	name := diff.QuotePath(n.Name)
	if n.Type == diff.Dir && r.node != 0 {
		name += "/"
	}
	x = a.put(in, x, y, name, style)
	if text := wasteTexts[n.Waste]; text != "" {
		a.put(in, x, y, "  "+text, waste)
	}
}

var looks = map[diff.Kind]look{0: plain, diff.Add: added, diff.Modify: modified, diff.Delete: deleted}

var wasteTexts = map[diff.WasteKind]string{
	diff.Unchanged: "copied up, not changed", diff.MetadataOnly: "only its metadata changed", diff.Deleted: "kept below",
}

// letter says what happened to a path: an unchanged copy has an equals sign.
func letter(n *survey.Node) string {
	switch {
	case n.Kind != 0:
		return string(n.Kind.Letter())
	case n.Waste != 0:
		return "="
	}
	return " "
}

// part draws which part of its directory's bytes a node has, in eighths of a column.
func part(t *survey.Tree, n *survey.Node) string {
	const width = 8
	if n.Parent < 0 || n.Sum.Bytes == 0 {
		return ""
	}
	whole := max(t.Node(int(n.Parent)).Sum.Bytes, n.Sum.Bytes)
	eighths := int(float64(n.Sum.Bytes) / float64(whole) * width * 8)
	bar := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		bar += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return bar
}

func (a *app) drawDetails(in area) {
	d := &a.detail
	if len(d.lines) == 0 {
		a.put(in, 0, 0, "reading…", a.styles[faint])
		return
	}
	if d.width != in.w {
		d.width, d.wrapped = in.w, wrap(d.lines, in.w)
	}
	d.top = max(min(d.top, len(d.wrapped)-in.h), 0)
	for y := range in.h {
		if d.top+y < len(d.wrapped) {
			l := d.wrapped[d.top+y]
			a.put(in, 0, y, l.text, a.styles[l.look])
		}
	}
}

// wrap breaks lines that are too long.
func wrap(lines []line, width int) (wrapped []line) {
	for _, l := range lines {
		rest := l.text
		for uniseg.StringWidth(rest) > max(width, 2) {
			w, cut := 0, 0
			for cut < len(rest) {
				c := firstCluster(rest[cut:])
				if w += uniseg.StringWidth(c); w > max(width, 2) {
					break
				}
				cut += len(c)
			}
			if blank := strings.LastIndexByte(rest[:cut], ' '); blank > cut/2 {
				cut = blank + 1
			}
			wrapped = append(wrapped, line{rest[:cut], l.look})
			rest = "    " + rest[cut:]
			if width < 12 {
				rest = rest[4:]
			}
		}
		wrapped = append(wrapped, line{rest, l.look})
	}
	return wrapped
}

func (a *app) drawHelp(in area) {
	a.helpTop = max(min(a.helpTop, len(bindings)-in.h), 0)
	for y, b := range bindings[a.helpTop:] {
		x := a.put(in, 1, y, fmt.Sprintf("%-18s", strings.Join(b.keys, " ")), a.styles[strong])
		a.put(in, x+1, y, b.help, a.styles[plain])
	}
}

// drawFoot writes the last line: a question, a message, or the keys to begin with.
func (a *app) drawFoot(in area) {
	bar := tcell.StyleDefault.Reverse(true)
	switch {
	case a.prompt != nil:
		text := a.prompt.question + harmless(string(a.prompt.answer))
		for over := uniseg.StringWidth(text) - in.w + 2; over > 0 && text != ""; over-- {
			text = text[len(firstCluster(text)):] // its end is what is being written
		}
		x := a.put(in, 0, 0, text, a.styles[strong])
		a.screen.ShowCursor(in.x+x, in.y)
	case a.help:
		a.fill(in, 0, " any key goes back", bar)
	case a.message != "" && a.failed:
		a.fill(in, 0, " "+a.message, a.styles[deleted].Reverse(true))
	case a.message != "":
		a.fill(in, 0, " "+a.message, bar)
	case in.w < 60:
		a.fill(in, 0, " ? help  q quit", bar)
	default:
		a.fill(in, 0, " ? help  q quit  Enter details  / search  f filter  w waste  s sort  x extract  R live", bar)
	}
}
