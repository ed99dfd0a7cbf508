package explore

import (
	"strings"

	"github.com/gdamore/tcell/v2"

	"github.com/overlaydiff/overlaydiff/diff"
)

// binding is a line of the help: keys, and what they do.
type binding struct {
	keys  []string
	help  string
	early bool // works also before the changes are read
	do    func(a *app)
}

// bindings are all keys. The help shows them in this order.
var bindings []binding

func init() { // the help is one of them
	bindings = []binding{
		{keys: []string{"j", "Down"}, help: "down", do: func(a *app) { a.move(1) }},
		{keys: []string{"k", "Up"}, help: "up", do: func(a *app) { a.move(-1) }},
		{keys: []string{"Ctrl-D"}, help: "half a screen down", do: func(a *app) { a.move(a.page() / 2) }},
		{keys: []string{"Ctrl-U"}, help: "half a screen up", do: func(a *app) { a.move(-a.page() / 2) }},
		{keys: []string{"Ctrl-F", "PgDn", "Space"}, help: "a screen down", do: func(a *app) { a.move(a.page()) }},
		{keys: []string{"Ctrl-B", "PgUp"}, help: "a screen up", do: func(a *app) { a.move(-a.page()) }},
		{keys: []string{"g", "Home"}, help: "to the beginning", do: func(a *app) { a.move(-1 << 30) }},
		{keys: []string{"G", "End"}, help: "to the end", do: func(a *app) { a.move(1 << 30) }},
		{keys: []string{"l", "Right"}, help: "open the directory", do: func(a *app) { a.view.toggle(true) }},
		{keys: []string{"h", "Left"}, help: "close it, or go to the one above", do: (*app).left},
		{keys: []string{"E"}, help: "open all directories", do: func(a *app) { a.view.all(true) }},
		{keys: []string{"C"}, help: "close all directories", do: func(a *app) { a.view.all(false) }},
		{keys: []string{"Enter"}, help: "open the directory, or show the details", do: (*app).enter},
		{keys: []string{"e"}, help: "show or hide the details: what it was and is, why it is here", do: (*app).details},
		{keys: []string{"Tab"}, help: "move in the tree, or in the details", do: (*app).tab},
		{keys: []string{"/"}, help: "search a name; with / in it, a path; * ? [] match all of it", do: func(a *app) { a.ask("/", "", (*app).search) }},
		{keys: []string{"n"}, help: "the next that matches", do: func(a *app) { a.again(false) }},
		{keys: []string{"N"}, help: "the one before", do: func(a *app) { a.again(true) }},
		{keys: []string{"f"}, help: "show only what matches, as for search; nothing: all", do: func(a *app) { a.ask("show only: ", a.view.filter, (*app).filter) }},
		{keys: []string{"a"}, help: "hide or show what was added", do: func(a *app) { a.hide(diff.Add) }},
		{keys: []string{"c"}, help: "hide or show what was changed", do: func(a *app) { a.hide(diff.Modify) }},
		{keys: []string{"d"}, help: "hide or show what was deleted", do: func(a *app) { a.hide(diff.Delete) }},
		{keys: []string{"w"}, help: "show only waste, or all", do: func(a *app) { a.view.waste = !a.view.waste; a.view.refilter() }},
		{keys: []string{"s"}, help: "sort by name, or by size", do: func(a *app) { a.view.byName = !a.view.byName; a.view.refilter() }},
		{keys: []string{"r"}, help: "read the changes anew", early: true, do: (*app).read},
		{keys: []string{"R"}, help: "… every two seconds, or no more", early: true, do: (*app).toggleLive},
		{keys: []string{"x"}, help: "extract the file into one of yours", do: (*app).extract},
		{keys: []string{"?"}, help: "this help; any key goes back", early: true, do: func(a *app) { a.help, a.helpTop = true, 0 }},
		{keys: []string{"Esc"}, help: "back: details, search, filters", early: true, do: (*app).back},
		{keys: []string{"q", "Ctrl-C"}, help: "quit", early: true, do: func(a *app) { a.done = true }},
	}
}

// keyName is how bindings call a key.
func keyName(e *tcell.EventKey) string {
	switch k := e.Key(); k {
	case tcell.KeyRune:
		if e.Rune() == ' ' {
			return "Space"
		}
		return string(e.Rune())
	case tcell.KeyEsc:
		return "Esc"
	case tcell.KeyEnter:
		return "Enter"
	case tcell.KeyTab:
		return "Tab"
	case tcell.KeyBackspace, tcell.KeyBackspace2:
		return "Backspace"
	default:
		return strings.ReplaceAll(tcell.KeyNames[k], "+", "-")
	}
}

func (a *app) press(key string) {
	if a.help {
		a.pressInHelp(key)
		return
	}
	for _, b := range bindings {
		for _, k := range b.keys {
			if k == key && (b.early || a.view != nil) {
				b.do(a)
				return
			}
		}
	}
}

// pressInHelp scrolls the help, where it does not fit, and ends it.
func (a *app) pressInHelp(key string) {
	switch key {
	case "j", "Down":
		a.helpTop = min(a.helpTop+1, max(0, len(bindings)-a.page()))
	case "k", "Up":
		a.helpTop = max(a.helpTop-1, 0)
	case "Ctrl-C":
		a.done = true
	default:
		a.help = false
	}
}

// move moves the cursor, or the details.
func (a *app) move(by int) {
	if a.detail.shown && a.detail.focus {
		a.detail.top = min(max(a.detail.top+by, 0), max(0, len(a.detail.wrapped)-a.page()))
		return
	}
	a.view.move(by)
}

func (a *app) left() {
	switch {
	case a.detail.shown && a.detail.focus && !a.wide():
		a.back()
	case a.view.isDir(a.view.node()) && a.view.open[a.view.node()] && a.view.node() != 0:
		a.view.toggle(false)
	default:
		a.view.up()
	}
}

func (a *app) enter() {
	if i := a.view.node(); a.view.isDir(i) && i != 0 && !a.detail.focus {
		a.view.toggle(!a.view.open[i])
		return
	}
	a.detail.shown, a.detail.focus = true, !a.wide()
}

func (a *app) details() {
	a.detail.shown = !a.detail.shown
	a.detail.focus = a.detail.shown && !a.wide()
}

func (a *app) tab() {
	if !a.detail.shown {
		a.detail.shown = true
	}
	a.detail.focus = !a.detail.focus
	if !a.wide() && !a.detail.focus { // there is room for one of them
		a.detail.shown = false
	}
}

// back takes away what was put on last.
func (a *app) back() {
	switch {
	case a.detail.shown:
		a.detail.shown, a.detail.focus = false, false
	case a.view != nil && (a.view.filter != "" || a.view.waste || len(a.view.hidden) > 0):
		a.view.filter, a.view.waste = "", false
		clear(a.view.hidden)
		a.view.refilter()
	}
}

func (a *app) search(pattern string) {
	a.pattern = pattern
	a.again(false)
}

func (a *app) again(back bool) {
	if a.pattern == "" {
		a.tell("nothing was searched for yet: / asks for it")
		return
	}
	if !a.view.search(a.pattern, back) {
		a.tell("no name matches " + diff.QuotePath(a.pattern))
	}
}

func (a *app) filter(pattern string) {
	a.view.filter = pattern
	a.view.refilter()
	if pattern != "" && len(a.view.children(0)) == 0 {
		a.tell("no name matches " + diff.QuotePath(pattern))
	}
	a.view.openFew()
}

// openFew opens all directories if what the filters leave is little enough to be
// looked through.
func (v *view) openFew() {
	const few = 200
	if v.kept == nil {
		return
	}
	n := 0
	for _, kept := range v.kept {
		if kept {
			n++
		}
	}
	if n > few {
		return
	}
	for i, kept := range v.kept {
		v.open[i] = v.open[i] || kept
	}
	v.layout()
}

func (a *app) hide(k diff.Kind) {
	if a.view.hidden[k] {
		delete(a.view.hidden, k)
	} else {
		a.view.hidden[k] = true
	}
	a.view.refilter()
}

func (a *app) toggleLive() {
	a.live = !a.live
	if a.live {
		a.read()
	}
}
