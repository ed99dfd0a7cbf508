package report

import (
	"crypto/sha256"
	_ "embed" // what the page is made of
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/diff"
)

// Overlay is what there is to report of one.
type Overlay struct {
	Name           string
	Engine, Reason string
	Tree           *survey.Tree
	// Guessed: files are told apart by size and time, their contents were not read.
	Guessed bool
	Usage   *diff.Usage // nil: there is no upper directory
	Layers  []Layer     // topmost first
}

// Layer is one of the chain.
type Layer struct {
	Kind string // upper, init, lower, data
	Name string // its id, or its directory
	Size int64  // bytes; negative: not known
}

// Write writes the page of one overlay or more. If they are two, it compares them.
func Write(w io.Writer, made time.Time, overlays ...Overlay) error {
	p := page{Made: made.Format("2006-01-02 15:04:05 MST"), Script: template.JS(script), Style: template.CSS(style), ScriptHash: hash(script), StyleHash: hash(style)} //nolint:gosec // our own
	for i, o := range overlays {
		s, err := sectionOf(i, o)
		if err != nil {
			return err
		}
		p.Sections = append(p.Sections, s)
	}
	if len(overlays) == 2 {
		p.Comparison = compare(overlays[0], overlays[1])
	}
	return document().Execute(w, p)
}

//go:embed page.html
var html string

//go:embed page.js
var script string

//go:embed page.css
var style string

// document is parsed when a page is written: no other command needs it.
var document = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"bytes": human.Bytes,
		"exact": human.ExactBytes,
		"count": func(n any) string {
			switch n := n.(type) {
			case int32:
				return human.Count(int64(n))
			case int64:
				return human.Count(n)
			case int:
				return human.Count(int64(n))
			}
			return ""
		},
		"quote":  diff.QuotePath,
		"text":   printable,
		"letter": func(k diff.Kind) string { return string(k.Letter()) },
	}).Parse(html))
})

// printable replaces what could make a line of text look like another.
func printable(v any) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return '?'
	}, fmt.Sprint(v))
}

// hash is how a Content-Security-Policy names a script or style that may run.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// page is what the template is executed with.
type page struct {
	Made                  string
	Script                template.JS
	Style                 template.CSS
	ScriptHash, StyleHash string
	Sections              []section
	Comparison            *comparison
}

// section is about one overlay.
type section struct {
	Overlay
	ID      int
	Sum     survey.Sum
	Map     template.JS // the tree, see [cell]
	Small   int         // nodes that are only added up there
	Biggest []entry
	Wastes  []wasted
	Chain   []link
	Total   int64 // of the chain
}

// entry is a row of a table.
type entry struct {
	Path  string
	Kind  diff.Kind
	Waste string
	Bytes int64
}

// wasted is a kind of waste.
type wasted struct {
	Title, What, Remedy string
	Count               int
	Bytes               int64
	Biggest             []entry
}

// link is a layer of the chain, with the part of the biggest one's size.
type link struct {
	Layer
	Width float64 // of 100
}

func sectionOf(i int, o Overlay) (section, error) {
	s := section{Overlay: o, ID: i, Sum: o.Tree.Node(0).Sum}
	root, small := cells(o.Tree, mostCells)
	s.Small = small
	data, err := json.Marshal(root) // which escapes what would end a script
	if err != nil {
		return s, err
	}
	s.Map = template.JS(data) //nolint:gosec // see above
	s.Biggest = biggest(o.Tree, mostRows, func(n *survey.Node) int64 {
		if n.Type == diff.Dir || n.Kind == 0 || n.Kind == diff.Delete {
			return 0
		}
		return n.Sum.Bytes
	})
	s.Wastes = wastes(o.Tree)
	most := int64(1)
	for _, l := range o.Layers {
		most = max(most, l.Size)
		s.Total += max(l.Size, 0)
	}
	for _, l := range o.Layers {
		s.Chain = append(s.Chain, link{l, 100 * float64(max(l.Size, 0)) / float64(most)})
	}
	return s, nil
}
