package peers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/testenv"
)

var update = flag.Bool("update", false, "write answers.tsv anew")

const answersHead = `# What the peers answer to the cases of the conformance suite: case, peer, verdict.
# Written by go test ./bench/peers -run TestAnswers -update; the same test fails when this is out of date.
# docs/features.md has it as columns: go test ./bench -run FeatureTable -update
`

// TestAnswers holds answers.tsv to what the peers answer. A peer that mends a
// fault changes it, as a new version in go.mod may: that is good news.
func TestAnswers(t *testing.T) {
	testenv.RequireRoot(t)
	var p panel
	groups := difftest.Survey(t, testenv.Tmpfs, map[string]difftest.Opener{"native": p.open})
	var b strings.Builder
	b.WriteString(answersHead)
	i := 0
	for _, g := range groups {
		for _, c := range g.Cases {
			if i == len(p.answers) {
				t.Fatalf("%s: nobody was asked", c.Name)
			}
			for _, a := range p.answers[i] {
				text := a.verdict.String()
				if fails := c.Answers["native"] == "right: an error"; fails && a.verdict.Err != nil {
					text = "right: an error"
				} else if fails {
					text = "wrong: an answer where the mount has none"
				}
				fmt.Fprintf(&b, "%s\t%s\t%s\n", c.Name, a.peer, text)
			}
			i++
		}
	}
	const file = "answers.tsv"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")); d != "" {
		t.Errorf("%s is out of date (-update writes it) (-file +peers):\n%s", file, d)
	}
}

// panel asks all peers about each stack that the suite opens an engine on.
type panel struct{ answers [][]answer }

type answer struct {
	peer    string
	verdict bench.Verdict
}

func (p *panel) open(ctx context.Context, tb testing.TB, s diff.Stack) (diff.Engine, error) {
	scene := &bench.Scene{Stack: s, Options: mountOptions(tb, s.Mountpoint), Old: mountOld(tb, s)}
	var answers []answer
	for _, t := range []bench.Task{Changes(), Layers()[0]} {
		ours := bench.Ask(ctx, t.Right(), scene)
		for _, subject := range t.Subjects {
			if subject.Limit || strings.HasPrefix(subject.Name, "overlaydiff") || subject.Name == "gnu.tar" {
				continue
			}
			theirs := bench.Ask(ctx, subject, scene)
			if theirs.Err != nil {
				theirs.Err = errors.New(withoutTemp(theirs.Err.Error(), s, scene.Old))
			}
			answers = append(answers, answer{subject.Name, t.Compare(ours, theirs)})
		}
	}
	p.answers = append(p.answers, answers)
	d, err := overlaydiff.Open(ctx, s, overlaydiff.Options{Engine: overlaydiff.Native})
	return engine{d}, err
}

var (
	tempMount = regexp.MustCompile(`(mount callback failed on \S+: )|(/\S*/containerd-mount[0-9]+)`)
	tempDir   = regexp.MustCompile(`/[^ :"]*/t[0-9]{5,}`)
)

// withoutTemp leaves out what is different in each run.
func withoutTemp(text string, s diff.Stack, old string) string {
	text = strings.NewReplacer(s.Upper, "UPPER", s.Mountpoint, "MERGED", old, "OLD").Replace(text)
	return tempDir.ReplaceAllString(tempMount.ReplaceAllString(text, ""), "DIR")
}

// engine makes a diff what it is underneath.
type engine struct{ *overlaydiff.Diff }

func (e engine) Name() string { return e.Engine() }

func (e engine) Changes(ctx context.Context, _ diff.Options) iter.Seq2[diff.Change, error] {
	return e.Diff.Changes(ctx)
}

// mountOptions returns the options of an overlay that the kernel thinks worth
// saying, without the layers.
func mountOptions(tb testing.TB, point string) string {
	tb.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); f[4] == point {
			all := strings.Split(f[len(f)-1], ",")
			return strings.Join(slices.DeleteFunc(all, func(o string) bool {
				key, _, _ := strings.Cut(o, "=")
				return !slices.Contains([]string{"redirect_dir", "metacopy", "index", "nfs_export", "userxattr", "verity", "volatile"}, key)
			}), ",")
		}
	}
	tb.Fatalf("nothing is mounted at %s", point)
	return ""
}

// mountOld mounts the lower layers alone, as they show below the upper one.
func mountOld(tb testing.TB, s diff.Stack) string {
	tb.Helper()
	o := testenv.Overlay{Lower: slices.Clone(s.Lower), Data: s.Data}
	if len(o.Lower) == 1 { // one is no overlay
		o.Lower = append(o.Lower, tb.TempDir())
	}
	var options []string
	if s.Features.UserXattr {
		options = append(options, "userxattr")
	} else {
		options = append(options, "redirect_dir="+map[bool]string{false: "nofollow", true: "follow"}[s.Features.RedirectFollow])
		if s.Features.Metacopy {
			options = []string{"metacopy=on"}
		}
	}
	if s.Features.Verity != diff.VerityOff {
		options = append(options, "verity="+s.Features.Verity.String())
	}
	o.Options = strings.Join(options, ",")
	return testenv.Mount(tb, o)
}
