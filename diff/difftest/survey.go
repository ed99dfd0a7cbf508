package difftest

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// Group is a group of the suite's cases, with what engines make of them.
type Group struct {
	Name, About string
	Cases       []Result
}

// Result is one case.
type Result struct {
	Name    string
	Options string // of the mount
	Why     string
	// Answers has the answer of each engine: "right", "refuses: " and its
	// reason, or "wrong: " and what is.
	Answers map[string]string
}

// A case names its traps in the project's list: "(12)", "(42, 46)".
var trapNumbers = regexp.MustCompile(` ?\([0-9, ]+\)$`)

// Survey runs the cases of the suite with each engine and returns what they
// answer, for a table. It leaves the engine's manners to [Run], and skips the
// test on a kernel too old for a case.
func Survey(t *testing.T, fs testenv.FS, engines map[string]Opener) []Group {
	t.Helper()
	var all []Group
	for _, g := range groups {
		group := Group{Name: g.name, About: g.about}
		for _, c := range g.cases {
			r := Result{Name: c.name, Options: c.options, Why: trapNumbers.ReplaceAllString(c.why, ""), Answers: map[string]string{}}
			for name, open := range engines {
				var err error
				tr := try(t, func(tb testing.TB) { err = c.ask(tb, fs, open, func(diff.Engine) error { return nil }) })
				switch {
				case tr.Skipped():
					t.Skipf("%s: %s", c.name, tr.log.String())
				case tr.Failed():
					t.Fatalf("%s: %s", c.name, tr.log.String())
				}
				r.Answers[name] = c.verdict(err)
			}
			group.Cases = append(group.Cases, r)
		}
		all = append(all, group)
	}
	return all
}

func (c testcase) verdict(err error) string {
	var no *diff.UnsupportedError
	switch {
	case errors.As(err, &no):
		return "refuses: " + no.Reason
	case err != nil:
		return "wrong: " + strings.SplitN(err.Error(), "\n", 2)[0]
	case c.fails:
		return "right: an error"
	}
	return "right"
}
