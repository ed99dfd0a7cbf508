package diff

import (
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var errWalk = errors.New("the walk failed")

// lines yields changes written as "A /path", then err unless it is nil.
func lines(err error, list ...string) iter.Seq2[Change, error] {
	kinds := map[byte]Kind{'A': Add, 'C': Modify, 'D': Delete}
	return func(yield func(Change, error) bool) {
		for _, line := range list {
			if !yield(Change{Kind: kinds[line[0]], Path: line[2:]}, nil) {
				return
			}
		}
		if err != nil {
			yield(Change{}, err)
		}
	}
}

func TestWithParents(t *testing.T) {
	for _, c := range []struct{ why, changes, want string }{
		{"nothing", "", ""},
		{"the root is never listed", "A /f", "A /f"},
		{"all above, once", "D /a/b/c|D /a/b/d", "C /a|C /a/b|D /a/b/c|D /a/b/d"},
		{"what is a change is not listed again", "A /a|A /a/b|A /a/b/f", "A /a|A /a/b|A /a/b/f"},
		{"between what is and what was listed", "C /a|D /a/b/f|A /a/c/d/f", "C /a|C /a/b|D /a/b/f|C /a/c|C /a/c/d|A /a/c/d/f"},
		{"a name that begins with another", "A /a/f|A /a-b/f|A /ab/f", "C /a|A /a/f|C /a-b|A /a-b/f|C /ab|A /ab/f"},
		{"back to one above", "A /a/b/f|A /a/z", "C /a|C /a/b|A /a/b/f|A /a/z"},
	} {
		var got []string
		last := ""
		for change, err := range WithParents(lines(nil, split(c.changes)...)) {
			if err != nil {
				t.Fatal(err)
			}
			if ComparePaths(last, change.Path) >= 0 {
				t.Errorf("%s: %s comes after %s", c.why, change.Path, last)
			}
			last = change.Path
			got = append(got, change.String())
		}
		if d := cmp.Diff(split(c.want), got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.why, d)
		}
	}
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "|")
}

// An error stays the last element, and to break off stops the walk, at an added
// directory as well.
func TestWithParents_Ends(t *testing.T) {
	var got []string
	var failed error
	for c, err := range WithParents(lines(errWalk, "A /a/f")) {
		if err != nil {
			failed = err
			continue
		}
		got = append(got, c.String())
	}
	if d := cmp.Diff([]string{"C /a", "A /a/f"}, got); d != "" || !errors.Is(failed, errWalk) {
		t.Errorf("error %v, changes (-want +got):\n%s", failed, d)
	}
	for stop := range 3 {
		n := 0
		for _, err := range WithParents(lines(errWalk, "A /a/b/f", "A /c")) {
			if err != nil {
				t.Fatal("it went on to the end")
			}
			if n++; n > stop {
				break
			}
		}
	}
}
