package bench

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/testenv"
)

var update = flag.Bool("update", false, "write docs/features.md anew")

// TestFeatureTable holds docs/features.md to what the engines answer.
func TestFeatureTable(t *testing.T) {
	testenv.RequireRoot(t)
	openers := map[string]difftest.Opener{}
	for _, e := range engines {
		openers[string(e)] = opener(e)
	}
	got := featureTable(difftest.Survey(t, testenv.Tmpfs, openers))
	if strings.Contains(got, "| wrong") {
		t.Fatalf("an engine is wrong:\n%s", got)
	}
	answers, err := os.ReadFile("peers/answers.tsv")
	must(t, err)
	table, err := peerTable(string(answers))
	must(t, err)
	got += table
	const file = "../docs/features.md"
	if *update {
		must(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("docs/features.md is out of date (go test ./bench -run FeatureTable -update writes it) (-file +engines):\n%s", d)
	}
}

func opener(choice overlaydiff.Choice) difftest.Opener {
	return func(ctx context.Context, _ testing.TB, s diff.Stack) (diff.Engine, error) {
		d, err := overlaydiff.Open(ctx, s, overlaydiff.Options{Engine: choice})
		return facade{d}, err
	}
}

// facade makes a diff what it is underneath, an engine. Its options are those
// that it was opened with.
type facade struct{ *overlaydiff.Diff }

func (f facade) Name() string { return f.Engine() }

func (f facade) Changes(ctx context.Context, _ diff.Options) iter.Seq2[diff.Change, error] {
	return f.Diff.Changes(ctx)
}

const featureHead = `<!-- Written by go test ./bench -run FeatureTable -update; the same test fails when this is out of date. -->

# What overlayfs does, and what the engines make of it

A directory tree is not what it looks like once it is a layer of an overlay. Each row below is a case of the
conformance suite (` + "`diff/difftest`" + `), which builds the layers, does something through a real mount, and asks a reference
that compares the two mounted views name by name what changed. Every engine must give that answer, entry by entry, or
say that it has none:

- **right**: the same changes, sizes, hard links and order as the reference.
- **right: an error**: the kernel itself can't read what is there, and neither the engine pretends to.
- **refuses**: no answer, with the reason. The automatic choice then takes the other engine.

The overlay is mounted while the engines are asked. Native does not need that; naive does, with ` + "`index=on`" + ` and
` + "`nfs_export=on`" + `.

`

func featureTable(groups []difftest.Group) string {
	var b strings.Builder
	b.WriteString(featureHead)
	total, right := 0, map[overlaydiff.Choice]int{}
	for _, g := range groups {
		for _, c := range g.Cases {
			total++
			for _, e := range engines {
				if strings.HasPrefix(c.Answers[string(e)], "right") {
					right[e]++
				}
			}
		}
	}
	fmt.Fprintf(&b, "Of %d cases native has %d right and naive %d; none is wrong.\n", total, right[overlaydiff.Native], right[overlaydiff.Naive])
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| case | mounted with | what it is about | native | naive |\n|---|---|---|---|---|\n", g.Name, g.About)
		for _, c := range g.Cases {
			cells := []string{c.Name, code(c.Options), c.Why, c.Answers["native"], c.Answers["naive"]}
			for i, s := range cells {
				cells[i] = strings.ReplaceAll(s, "|", `\|`)
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	return b.String()
}

// code sets mount options apart: one long word makes a wide table.
func code(options string) string {
	if options == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(options, ",", "` `") + "`"
}
