package bench

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Findings are a subject's whole answer.
type Findings struct {
	Answer
	// Paths has the letter of each change, see [Visit].
	Paths map[string]byte
	// Opaque has the directories whose whole lower content was called deleted.
	Opaque map[string]bool
	Err    error
}

// opaqueMark is how a layer, and continuity's callback, say that all that the
// lower layers have in a directory is deleted.
const opaqueMark = ".wh..wh..opq"

// Ask runs a subject for its findings.
func Ask(ctx context.Context, subject Subject, s *Scene) Findings {
	f := Findings{Paths: map[string]byte{}, Opaque: map[string]bool{}}
	f.Answer, f.Err = subject.Run(ctx, s, f.visit)
	return f
}

func (f *Findings) visit(letter byte, name string) {
	name = path.Clean("/" + name)
	switch dir, base := path.Split(name); {
	case name == "/": // the root is never a change
	case base == opaqueMark || base == ".wh..opq":
		f.Opaque[path.Clean(dir)] = true
	default:
		f.Paths[name] = letter
	}
}

// Verdict says how another's answer differs from ours.
type Verdict struct {
	// Missed are changes that it does not have, Invented are some that it alone
	// has, Mistaken are paths at which it has another kind of change.
	Missed, Invented, Mistaken []string
	// Unchanged are paths that it calls modified though nothing there is: a
	// layer with them is larger, not wrong.
	Unchanged []string
	// Figures are numbers that differ.
	Figures []string
	Err     error
}

// Wrong counts the paths and numbers that are wrong.
func (v Verdict) Wrong() int {
	return len(v.Missed) + len(v.Invented) + len(v.Mistaken) + len(v.Figures)
}

// String is for a table: "right", or what is wrong in a few words.
func (v Verdict) String() string {
	if v.Err != nil {
		return "error: " + firstLine(v.Err.Error())
	}
	var parts []string
	add := func(what string, list []string) {
		if len(list) == 0 {
			return
		}
		slices.Sort(list)
		text := what + " " + list[0]
		if len(list) > 1 {
			text += fmt.Sprintf(" and %d more", len(list)-1)
		}
		parts = append(parts, text)
	}
	add("misses", v.Missed)
	add("invents", v.Invented)
	add("mistakes", v.Mistaken)
	add("says", v.Figures)
	if len(parts) > 0 {
		return "wrong: " + strings.Join(parts, "; ")
	}
	if n := len(v.Unchanged); n > 0 {
		return fmt.Sprintf("right, and lists %d unchanged", n)
	}
	return "right"
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// CompareUsage compares the numbers that they have.
func CompareUsage(ours, theirs Findings) (v Verdict) {
	if theirs.Err != nil {
		return Verdict{Err: theirs.Err}
	}
	for _, n := range []struct {
		name         string
		ours, theirs int64
	}{
		{"bytes", ours.Bytes, theirs.Bytes},
		{"bytes on disk", ours.Disk, theirs.Disk},
		{"inodes", ours.Inodes, theirs.Inodes},
	} {
		if n.theirs != 0 && n.ours != n.theirs {
			v.Figures = append(v.Figures, fmt.Sprintf("%d %s instead of %d", n.theirs, n.name, n.ours))
		}
	}
	return v
}

// CompareChanges compares the changes, in what all agree a change is: a
// directory that is listed because something in it changed is no difference,
// nor is what lies in a deleted directory.
func CompareChanges(ours, theirs Findings) (v Verdict) {
	if theirs.Err != nil {
		return Verdict{Err: theirs.Err}
	}
	parents := map[string]bool{} // of changes
	for p := range ours.Paths {
		for dir := path.Dir(p); dir != "/" && !parents[dir]; dir = path.Dir(dir) {
			parents[dir] = true
		}
	}
	for p, want := range ours.Paths {
		got, listed := theirs.Paths[p]
		switch {
		case !listed && want == 'D' && theirs.hides(p):
		case !listed || got == 'R':
			v.Missed = append(v.Missed, p)
		case got != want && (got != 'P' || want == 'D'):
			v.Mistaken = append(v.Mistaken, p)
		}
	}
	for p, got := range theirs.Paths {
		_, known := ours.Paths[p]
		switch {
		case known:
		case got == 'D' && ours.deletes(p):
		case got == 'C' || got == 'P':
			if !parents[p] {
				v.Unchanged = append(v.Unchanged, p)
			}
		default:
			v.Invented = append(v.Invented, p)
		}
	}
	return v
}

// hides reports whether a directory above p is opaque.
func (f *Findings) hides(p string) bool {
	for dir := path.Dir(p); ; dir = path.Dir(dir) {
		if f.Opaque[dir] {
			return true
		}
		if dir == "/" {
			return false
		}
	}
}

// deletes reports whether a directory above p is deleted.
func (f *Findings) deletes(p string) bool {
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		if f.Paths[dir] == 'D' {
			return true
		}
	}
	return false
}
