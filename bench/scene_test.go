package bench

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestScene holds that a scenario has what it says, and that both engines agree
// on it: edits that no engine could tell would measure nothing.
func TestScene(t *testing.T) {
	testenv.RequireRoot(t)
	for _, s := range []Scenario{
		{Image: 1000, Upper: 20},
		{Image: 1000, Upper: 700},
		{Image: 500, Upper: 1000}, // more than can be changed
		{Image: 1000, Upper: 100, Layers: 3},
		{Image: 1000, Upper: 100, Depth: 30},
		{Image: 1000, Upper: 100, Layers: 2, Features: true},
		{Image: 300, Upper: 20, FS: "ext4"},
	} {
		t.Run(s.Name(), func(t *testing.T) {
			sc := Build(t, s, mountOverlay)
			if sc.Entries != s.Image || sc.UpperEntries != s.Upper {
				t.Errorf("%d entries and %d in the upper directory", sc.Entries, sc.UpperEntries)
			}
			task := Changes()
			ours, naive := Ask(t.Context(), task.Subjects[0], sc), Ask(t.Context(), task.Subjects[1], sc)
			must(t, errors.Join(ours.Err, naive.Err))
			if d := cmp.Diff(naive.Paths, ours.Paths); d != "" {
				t.Errorf("changes (-naive +native):\n%s", shorten(d))
			}
			letters := map[byte]int{}
			for _, letter := range ours.Paths {
				letters[letter]++
			}
			if letters['A'] == 0 || letters['C'] == 0 || letters['D'] == 0 {
				t.Errorf("changes %c are not of all kinds", letters)
			}
		})
	}
}

func TestScene_again(t *testing.T) {
	testenv.RequireRoot(t)
	s := Scenario{Image: 1000, Upper: 100}
	var answers []map[string]byte
	for range 2 {
		t.Run("", func(t *testing.T) {
			answers = append(answers, Ask(t.Context(), Changes().Subjects[0], Build(t, s, mountOverlay)).Paths)
		})
	}
	if d := cmp.Diff(answers[0], answers[1]); d != "" {
		t.Errorf("the second time:\n%s", shorten(d))
	}
}

func TestScenario_Name(t *testing.T) {
	for _, c := range []struct {
		s    Scenario
		want string
	}{
		{Scenario{Image: 1_000_000, Upper: 20}, "image=1M/upper=20/layers=1/depth=any/features=off/fs=tmpfs/cache=warm"},
		{Scenario{Image: 1500, Upper: 45_000, Layers: 5, Depth: 9, FS: "xfs", Cold: true, Features: true}, "image=1500/upper=45k/layers=5/depth=9/features=on/fs=xfs/cache=cold"},
		{Scenario{Upper: 20}, "image=debian/upper=20/layers=1/depth=any/features=on/fs=disk/cache=warm"},
	} {
		if got := c.s.Name(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	for _, n := range []int{0, 1, 999, 1000, 1001, 45_000, 1_000_000, 1_001_000} {
		if got, err := ParseCount(Count(n)); got != n || err != nil {
			t.Errorf("%d becomes %s, and that %d, %v", n, Count(n), got, err)
		}
	}
	for _, set := range []Set{Tiny, Short, Full} {
		seen := map[string]bool{}
		for _, s := range set.Scenarios() {
			if seen[s.Name()] {
				t.Errorf("%s has %s twice", set, s.Name())
			}
			seen[s.Name()] = true
		}
		if again, err := ParseSet(string(set)); again != set || err != nil || len(seen) == 0 {
			t.Errorf("set %s: %v, %v, %d scenarios", set, again, err, len(seen))
		}
	}
}

// findings reads "A /a, C /b, D /c".
func findings(list string) Findings {
	f := Findings{Paths: map[string]byte{}, Opaque: map[string]bool{}}
	for word := range strings.SplitSeq(list, ", ") {
		if letter, name, ok := strings.Cut(word, " "); ok {
			f.visit(letter[0], name)
		}
	}
	return f
}

func TestCompareChanges(t *testing.T) {
	for _, c := range []struct{ ours, theirs, want, why string }{
		{"A /d/n, C /f", "C /f, A /d/n", "right", ""},
		{"A /d/n", "C /d, A /d/n", "right", "docker diff lists the parents"},
		{"A /d/n, C /f", "P d/, P ./d/n, P f", "right", "a tar does not tell A from C"},
		{"D /f", "D /f", "right", ""},
		{"D /d", "D /d, D /d/f", "right", "what was in it is said needlessly"},
		{"D /d/a, D /d/b/c", "C /d, D /d/.wh..wh..opq", "right", "opaque: all is deleted"},
		{"D /d/a", "D /e/.wh..wh..opq", "wrong: misses /d/a", "another directory"},
		{"C /f", "C /f, C /g, C /h", "right, and lists 2 unchanged", "copied up in vain"},
		{"C /f, D /g", "", "wrong: misses /f and 1 more", ""},
		{"", "A /f", "wrong: invents /f", ""},
		{"A /f", "R /f", "wrong: misses /f", "and so it is not there after a replay"},
		{"", "R /f", "wrong: invents /f", "a replay damages it"},
		{"", "D /f", "wrong: invents /f", ""},
		{"D /f", "A /f", "wrong: mistakes /f", "a whiteout taken for a device"},
		{"D /f", "P /f", "wrong: mistakes /f", "the same in a tar"},
		{"A /f, A /g", "C /f, A /h", "wrong: misses /g; invents /h; mistakes /f", ""},
	} {
		v := CompareChanges(findings(c.ours), findings(c.theirs))
		if got := v.String(); got != c.want {
			t.Errorf("ours %q, theirs %q: %s, want %s (%s)", c.ours, c.theirs, got, c.want, c.why)
		}
	}
	failed := Findings{Err: errors.New("no\nmore")}
	if got := CompareChanges(findings(""), failed).String(); got != "error: no" {
		t.Errorf("a failure: %s", got)
	}
}

func TestCompareUsage(t *testing.T) {
	ours := Findings{Answer: Answer{Bytes: 1, Disk: 2, Inodes: 3}}
	for _, c := range []struct {
		theirs Answer
		want   string
	}{
		{Answer{Bytes: 1}, "right"},
		{Answer{Disk: 2, Inodes: 3}, "right"},
		{Answer{Bytes: 1, Disk: 4}, "wrong: says 4 bytes on disk instead of 2"},
	} {
		if got := CompareUsage(ours, Findings{Answer: c.theirs}).String(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.theirs, got, c.want)
		}
	}
}
