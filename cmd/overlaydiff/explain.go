package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/diff"
)

func explainCommand() *cobra.Command {
	var f stackFlags
	cmd := &cobra.Command{
		Use:   "explain [flags] STACK PATH",
		Short: "Explain why PATH is or is not in the diff, layer by layer",
		Long: `explain prints in its first line what changes lists for PATH, and why. Then it prints
how the old and the new view differ at PATH, and what each layer has there, topmost
first. PATH is absolute within the overlay. Symbolic links are not followed.

A path that neither view has is an answer, not an error: the exit status is 0, and
old and new are null with --json. Only the native engine knows layers; otherwise
explain compares the two views. docs/explain.md describes the fields of --json.`,
		Example: `  overlaydiff explain pid:4242 /etc/passwd
  overlaydiff explain --lower L1:L2 --upper U /etc/passwd`,
		RunE: func(cmd *cobra.Command, args []string) error {
			stack, path, err := f.splitPath(args)
			if err != nil {
				return err
			}
			d, err := f.open(cmd.Context(), stack)
			if err != nil {
				return err
			}
			defer d.Close()
			r, err := explain(cmd, d, path)
			if err != nil {
				return err
			}
			f.note(cmd, d)
			if d.Raced() > 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "overlaydiff: it changed while it was read; this is what was seen at last")
			}
			if f.json {
				return printJSON(cmd, r)
			}
			return r.print(cmd.OutOrStdout(), r.differenceRows(), r.layerRows())
		},
	}
	f.register(cmd)
	return cmd
}

// splitPath takes PATH from what stands after the flags.
func (f *stackFlags) splitPath(args []string) (stack []string, path string, err error) {
	byFlags := f.lower != "" || f.upper != "" || f.options != "" || f.oldDir != "" || f.newDir != ""
	switch {
	case len(args) == 0, len(args) == 1 && !byFlags:
		return nil, "", usagef("name an overlay and a path in it: overlaydiff explain STACK PATH")
	case len(args) > 2:
		return nil, "", usagef("name one overlay and one path in it, not %d words", len(args))
	}
	last := len(args) - 1
	if path, err = diff.CleanPath(args[last]); err != nil {
		return nil, "", usageError{err}
	}
	return args[:last], path, nil
}

// explanation is a [diff.Explanation] in words besides. Its JSON is documented in
// docs/explain.md.
type explanation struct {
	Verdict string `json:"verdict"`
	diff.Explanation
	PathBytes []byte   `json:"path_bytes,omitempty"` // if the path is not UTF-8
	Remarks   []string `json:"remarks"`
	Engine    string   `json:"engine"`
	Reason    string   `json:"reason"`
	proofJSON
}

func explain(cmd *cobra.Command, d *overlaydiff.Diff, path string) (*explanation, error) {
	status := newStatus(cmd.ErrOrStderr(), "comparing")
	defer status.done()
	x, err := d.Explain(cmd.Context(), path)
	if err != nil {
		return nil, err
	}
	return told(x, d), nil
}

// told is an explanation that d gave, in words.
func told(x diff.Explanation, d *overlaydiff.Diff) *explanation {
	r := &explanation{Explanation: x, Engine: d.Engine(), Reason: d.Reason(), proofJSON: proofOf(d)}
	if !utf8.ValidString(x.Path) {
		r.PathBytes = []byte(x.Path)
	}
	r.Verdict = r.verdict()
	r.Remarks = r.remarks()
	return r
}

// print writes the verdict, tables and the remarks.
func (r *explanation) print(out io.Writer, tables ...[][]string) error {
	if _, err := fmt.Fprintln(out, r.Verdict); err != nil {
		return err
	}
	for _, rows := range tables {
		if len(rows) == 0 {
			continue
		}
		if _, err := fmt.Fprintln(out); err != nil {
			return err
		}
		if err := printTable(out, rows); err != nil {
			return err
		}
	}
	w := wrapper{w: out, width: textWidth(out)}
	if len(r.Remarks) > 0 {
		w.line("", "")
	}
	for _, remark := range r.Remarks {
		w.line("", "%s", remark)
	}
	return w.err
}

func (r *explanation) differenceRows() (rows [][]string) {
	add := func(list []diff.Difference, note string) {
		for _, d := range list {
			what := strings.TrimSpace(strings.Replace(d.What, "xattrs", "xattr", 1) + " " + d.Name)
			values := "differs"
			if d.What != diff.WhatContent.String() {
				values = orNone(d.Old) + " -> " + orNone(d.New)
			}
			rows = append(rows, []string{what, values + note})
		}
	}
	add(r.Differences, "")
	add(r.Ignored, " (never counts)")
	return rows
}

func orNone(value string) string {
	if value == "" {
		return "none"
	}
	return value
}

func (r *explanation) layerRows() (rows [][]string) {
	for _, l := range r.Layers {
		rows = append(rows, []string{shortLayer(l.Kind, l.Number), diff.QuotePath(l.Dir), r.has(l)})
	}
	return rows
}

func shortLayer(kind diff.LayerKind, number int) string {
	if kind == diff.LayerUpper || kind == diff.LayerIndex {
		return string(kind)
	}
	return fmt.Sprintf("%s %d", kind, number)
}

func longLayer(kind diff.LayerKind, number int) string {
	if kind == diff.LayerUpper {
		return "the upper layer"
	}
	if kind == diff.LayerIndex {
		return "the index"
	}
	return shortLayer(kind, number)
}

// has says what a layer has, and what becomes of it in the views.
func (r *explanation) has(l diff.LayerAt) string {
	text := ""
	switch from, to := l.Old, l.New; {
	case from == nil && to == nil:
		text = "not asked"
	case from == nil:
		text = join("; ", r.thing(to), in(r.role(to), "in the new view"))
	case to == nil:
		text = join("; ", r.thing(from), in(r.role(from), "in the old view"))
	case from.At != to.At || from.Has != to.Has:
		text = join("; ", "old view: "+join(", ", r.thing(from), r.role(from)), "new view: "+join(", ", r.thing(to), r.role(to)))
	case r.role(from) == r.role(to):
		text = join("; ", r.thing(to), in(r.role(to), "in both views"))
	case from.HiddenBy != nil && to.HiddenBy != nil: // the nearer one tells enough
		text = join("; ", r.thing(to), r.role(from))
	default:
		text = join("; ", r.thing(to), in(r.role(from), "in the old view"), in(r.role(to), "in the new view"))
	}
	for _, m := range l.Marks {
		text += " (" + r.mark(m) + ")"
	}
	return text
}

func join(by string, parts ...string) string {
	said := []string{}
	for _, p := range parts {
		if p != "" {
			said = append(said, p)
		}
	}
	return strings.Join(said, by)
}

// in says in which view a role is had.
func in(role, view string) string {
	if role == "" {
		return ""
	}
	if hidden, why, ok := strings.Cut(role, ": "); ok {
		return hidden + " " + view + ": " + why
	}
	return role + " " + view
}

// thing says what is at a place.
func (r *explanation) thing(p *diff.Place) string {
	text := presence(p.Has)
	if e := p.Seen; e != nil {
		switch e.Type {
		case diff.File:
			text += ", " + human.Bytes(e.Size)
		case diff.Char, diff.Block:
			text += " " + e.Device()
		}
		if e.Type != diff.Symlink {
			text += fmt.Sprintf(", mode %04o", e.Mode)
		}
	}
	return text + r.at(p.At)
}

// at names a place within a layer, unless it is the path that was asked for.
func (r *explanation) at(path string) string {
	if path == r.Path {
		return ""
	}
	return " at " + diff.QuotePath(path)
}

// role says what a view takes from a place.
func (r *explanation) role(p *diff.Place) string {
	isFile := p.Seen != nil && p.Seen.Type == diff.File
	switch {
	case p.HiddenBy != nil && p.Has == diff.Nothing:
		return "" // nothing is hidden
	case p.HiddenBy != nil:
		return "hidden: " + r.hider(p.HiddenBy)
	case p.Metadata && isFile && !p.Content:
		return "its metadata is shown"
	case p.Metadata:
		return "shown"
	case p.Content:
		return "its content is shown"
	case p.Merged:
		return "merged"
	}
	return ""
}

func (r *explanation) hider(h *diff.Hider) string {
	return longLayer(h.Kind, h.Number) + " has " + article(presence(h.Has)) + r.at(h.At)
}

func (r *explanation) mark(m diff.Mark) string {
	text := m.Xattr
	if m.Value != "" {
		text += "=" + diff.QuotePath(m.Value)
	}
	return text + r.at(m.At)
}

func presence(p diff.Presence) string {
	switch string(p) {
	case diff.Dir.String():
		return "directory"
	case diff.Symlink.String():
		return "symbolic link"
	case diff.Char.String():
		return "character device"
	case diff.Block.String():
		return "block device"
	}
	return string(p)
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	if noun == string(diff.Nothing) {
		return noun
	}
	return "a " + noun
}
