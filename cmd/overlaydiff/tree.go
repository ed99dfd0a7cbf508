package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/diff"
)

// printSurvey reads all changes and shows them as show does.
func (f *stackFlags) printSurvey(cmd *cobra.Command, d *overlaydiff.Diff, missing *unreadables, show func(*picture) error) error {
	f.note(cmd, d)
	var paths []*diff.UnreadableError
	missing.show = func(u *diff.UnreadableError) error {
		paths = append(paths, u)
		return nil
	}
	tree, err := surveyed(f.pausing.context(cmd), cmd.ErrOrStderr(), d, survey.Options{})
	if err = f.pausing.end(err); err != nil {
		return err
	}
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	if err := show(&picture{Tree: tree, out: out, color: colored(cmd.OutOrStdout())}); err != nil {
		return err
	}
	for _, u := range paths {
		fmt.Fprintln(out, lineOf(u))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	f.pausing.note(cmd, d)
	noteRaced(cmd, tree.Raced)
	return missing.err()
}

// surveyed reads all changes, with a status line.
func surveyed(ctx context.Context, errs io.Writer, d *overlaydiff.Diff, opts survey.Options) (*survey.Tree, error) {
	status := newStatus(errs, "comparing")
	defer status.done()
	opts.Found = status.seenSoFar
	return survey.Build(ctx, d, opts)
}

// colored reports whether w is a terminal whose user has nothing against colors:
// https://no-color.org.
func colored(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// picture draws a tree of changes in lines. The path comes last in each, so that
// it need not be cut.
type picture struct {
	*survey.Tree
	out   io.Writer
	color bool
	depth int // how far down; 0: all the way
}

var kindColors = map[diff.Kind]string{diff.Add: "32", diff.Modify: "33", diff.Delete: "31"}

// kind writes the letter of a change.
func (p *picture) kind(k diff.Kind, text string) string {
	if !p.color || k == 0 || text == "" {
		return text
	}
	return "\x1b[" + kindColors[k] + "m" + text + "\x1b[0m"
}

// size is what a node adds to the layer; a deletion adds nothing.
func size(n *survey.Node) string {
	if n.Kind == diff.Delete {
		return "-"
	}
	return human.Bytes(n.Sum.Bytes)
}

// tree draws directories with all that changed below them, as tree(1) does.
func (p *picture) tree() error {
	if err := p.treeLine("", 0, "/"); err != nil {
		return err
	}
	if err := p.branch(0, 1, ""); err != nil {
		return err
	}
	return p.total()
}

func (p *picture) treeLine(indent string, i int, name string) error {
	n := p.Node(i)
	if n.Kind != 0 {
		name = p.kind(n.Kind, string(n.Kind.Letter())+" "+name)
	}
	_, err := fmt.Fprintf(p.out, "%10s  %s%s\n", size(n), indent, name)
	return err
}

// branch draws what is below a node.
func (p *picture) branch(i, depth int, indent string) error {
	for c := range p.Children(i) {
		n := p.Node(c)
		fork, below := "├── ", "│   "
		if p.End(c) == p.End(i) {
			fork, below = "└── ", "    "
		}
		name := diff.QuotePath(n.Name)
		if n.Type == diff.Dir {
			name += "/"
		}
		whole := p.depth == 0 || depth < p.depth
		if !whole {
			name += inside(n)
		}
		if err := p.treeLine(indent+fork, c, name); err != nil {
			return err
		}
		if whole {
			if err := p.branch(c, depth+1, indent+below); err != nil {
				return err
			}
		}
	}
	return nil
}

// inside says how many changes there are below a node.
func inside(n *survey.Node) string {
	below := n.Sum.Changes()
	if n.Kind != 0 {
		below--
	}
	if below == 0 {
		return ""
	}
	return " (" + human.Plural(below, "change", "changes") + " in it)"
}

// stat draws a line with a bar for each change, as git diff --stat does. An added
// tree is one line.
func (p *picture) stat() error {
	const width = 20
	most := int64(1)
	for i := 1; i < p.Len(); i++ {
		if n := p.Node(i); n.Kind == diff.Add || n.Kind != 0 && n.Type != diff.Dir {
			most = max(most, n.Sum.Bytes)
		}
	}
	for i := 1; i < p.Len(); {
		n := p.Node(i)
		at := i
		i++
		if n.Kind == 0 {
			continue
		}
		path, bytes, bar := diff.QuotePath(p.Path(at)), size(n), "~"
		if n.Type == diff.Dir && p.Path(at) != "/" {
			path += "/"
		}
		switch {
		case n.Kind == diff.Add:
			bar = "+"
			path += inside(n)
			i = p.End(at)
		case n.Kind == diff.Modify && n.Type == diff.Dir: // what is in it is listed by itself
			bytes = "-"
			bar = ""
		case n.Kind == diff.Delete:
			bar = ""
		}
		if bar != "" && n.Sum.Bytes > 0 {
			bar = strings.Repeat(bar, int(max(1, n.Sum.Bytes*width/most)))
		} else {
			bar = ""
		}
		letter := p.kind(n.Kind, string(n.Kind.Letter()))
		bar = p.kind(n.Kind, bar) + strings.Repeat(" ", width-len(bar))
		if _, err := fmt.Fprintf(p.out, "%s %10s  %s  %s\n", letter, bytes, bar, path); err != nil {
			return err
		}
	}
	return p.total()
}

// total is the last line.
func (p *picture) total() error {
	s := p.Node(0).Sum
	_, err := fmt.Fprintf(p.out, "\n%s added, %s changed, %s deleted; %s\n",
		human.Count(int64(s.Added)), human.Count(int64(s.Modified)), human.Count(int64(s.Deleted)), human.ExactBytes(s.Bytes))
	return err
}
