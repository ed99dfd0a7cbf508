package archtest

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "draw the picture of the packages in docs/architecture.md again")

const (
	document = "../../docs/architecture.md"
	begin    = "<!-- drawn by go test ./internal/archtest -run Picture -update -->\n```text\n"
	end      = "```\n"
	width    = 96
)

// TestPicture holds the picture in the document against the table.
func TestPicture(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the picture", document)
	}
	want := picture(table)
	switch {
	case got == want:
	case *update:
		if err := os.WriteFile(document, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the picture in %s is not that of the table: go test ./internal/archtest -run Picture -update", document)
	}
}

// picture draws the floors of a table, the highest on top.
func picture(table string) string {
	type floor struct {
		name  string
		rooms []string
	}
	var floors []floor
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "floor":
			floors = append(floors, floor{name: strings.Join(fields[1:], " ")})
		case strings.HasSuffix(fields[0], ":"):
			last := &floors[len(floors)-1]
			last.rooms = append(last.rooms, strings.TrimSuffix(fields[0], ":"))
		}
	}
	slices.Reverse(floors)
	var b strings.Builder
	corner := "┌"
	for _, f := range floors {
		b.WriteString(pad(corner+"─ "+f.name+" ", "─", "┐") + "\n")
		corner = "├"
		line := "│"
		for _, room := range f.rooms {
			if room == "." {
				room = "overlaydiff (the root)"
			}
			if len(line)+len(room)+4 > width {
				b.WriteString(pad(line, " ", "│") + "\n")
				line = "│"
			}
			line += "  " + room
		}
		b.WriteString(pad(line, " ", "│") + "\n")
	}
	b.WriteString(pad("└", "─", "┘") + "\n")
	return b.String()
}

// pad fills s up to the width and ends it.
func pad(s, with, last string) string {
	return s + strings.Repeat(with, width-1-utf8.RuneCountInString(s)) + last
}
