package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/features"
)

var update = flag.Bool("update", false, "write docs/probe.md anew")

// TestProbe_Document holds docs/probe.md to the questions and fields that there
// are. Nothing in it depends on the machine.
func TestProbe_Document(t *testing.T) {
	const file, examples = "../../docs/probe.md", "../../example_nativediff_test.go"
	source, err := os.ReadFile(examples)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the sources are elsewhere")
	}
	check(t, err)
	got := probeDocument(string(source))
	if *update {
		check(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("docs/probe.md is out of date (go test ./cmd/overlaydiff -run Document -update writes it) (-file +program):\n%s", d)
	}
}

const probeHead = `<!-- Written by go test ./cmd/overlaydiff -run Document -update; the same test fails when this is out of date. -->

# What overlaydiff probe answers

    overlaydiff probe [DIR]              for people
    overlaydiff probe --json [DIR]       for programs
    overlaydiff probe --explain NAME     what is known of one question; all: of each

` + "`overlaydiff probe`" + ` finds out what overlays can do whose upper directories are in DIR, or in the current directory: it mounts
some in a scratch directory there, and looks. [probe-examples.md](probe-examples.md) has what it says on several file systems,
as root and as others.

Nothing is left behind. The mounts are seen by nobody else and end with the process, whatever ends it; the scratch directory,
` + "`.overlaydiff-probe-…`" + `, is removed, and if the process was killed, the next run in DIR removes it.

The exit status is 0 if the questions could be asked, whatever the answers are; 1 if DIR can't be opened; 2 if the command line
makes no sense.

## Answers

There are three, and each but yes comes with its reason:

- **yes**: it was done, and worked.
- **no**: the kernel, or the file system, does not do it. That is conclusive: it holds until another kernel runs, the directory is
  on another file system, or the overlay module's parameters change.
- **unknown**, shown as ` + "`?`" + `: it can't be told. Privileges are missing, the disk is full or read-only, a security filter
  interfered. The same question can have another answer with more privileges, or in another directory. EPERM is never taken for
  a no unless something similar is permitted at the same time.

If one question takes the answer of another, and that is no or unknown, both have the same answer; ` + "`lacks`" + ` names the other.
The text lists such questions in one line, "for lack of".

Kernel versions play no part: distributions add features to old kernels and switch them off in new ones. The column "since" says
in which release of Linux something appeared first, to know what to update to.

## Native diff

First comes whether the changes of overlays there can be read from their upper directories, instead of comparing whole trees, if
they are mounted with the options in ` + "`--options`" + ` (as in ` + "`mount -o`" + `, without the layers). The reasons are codes:

`

const probeFoot = `
## For authors of drivers

What follows is the successor of the function ` + "`doesSupportNativeDiff`" + ` that graph drivers carry. Differences to that: the error
says that it can't be told, and only that; what speaks against it is data; and nothing is remembered that could not be told.

~~~go
%s~~~

A program that asks about more than one directory, or more than once, keeps a ` + "`features.Prober`" + `. It remembers what was
conclusive, by what it depends on. Questions about user namespaces take another process, which is the program itself: it calls
` + "`features.Main`" + ` first thing in ` + "`main`" + `, or their answer is unknown.

~~~go
%s~~~

` + "`Have`" + ` returns nil for yes, an error that matches ` + "`diff.ErrUnsupported`" + ` for no, and any other error for unknown.
` + "`Ask`" + ` has the answers as data, those that ` + "`--json`" + ` prints.
`

func probeDocument(examples string) string {
	var b strings.Builder
	b.WriteString(probeHead)
	table(&b, "code", "meaning")
	for _, c := range probeCodes {
		table(&b, "`"+string(c.code)+"`", c.says)
	}
	b.WriteString(`
Then what the same tests of two other tools would say: moby's, which heeds no options, and containers/storage's. They give up in
more cases.

## JSON

One object in one line. Fields and codes may be added; those that are here keep their names, types and meaning. "Maybe" are
those that are missing when there is nothing to say.

`)
	table(&b, "field", "type", "", "meaning")
	for _, f := range probeFields {
		maybe := ""
		if f.maybe {
			maybe = "maybe"
		}
		table(&b, "`"+f.path+"`", f.json, maybe, f.says)
	}
	b.WriteString(`
A directory whose name is not UTF-8 has U+FFFD in place of the bytes that aren't.

## Questions

"Asks" is what is true if the answer is yes.
`)
	group := ""
	for _, name := range features.Names() {
		about, _ := features.Explain(name)
		if about.Group != group {
			group = about.Group
			fmt.Fprintf(&b, "\n### %s\n\n", group)
			table(&b, "name", "since", "asks", "how it is found", "what a no means")
		}
		how := about.How
		if about.Source != "" {
			how += " (" + about.Source + ")"
		}
		table(&b, "`"+about.Name+"`", about.Since, about.Asks, how, about.Follows)
	}
	fmt.Fprintf(&b, probeFoot, exampleBody(examples, "ExampleNativeDiff()"), exampleBody(examples, "ExampleNativeDiff_prober()"))
	return b.String()
}

// table writes one row of a table; the first one has the headings.
func table(b *strings.Builder, cells ...string) {
	for i, cell := range cells {
		cells[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(cell)
	}
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	if first := cells[0]; !strings.HasPrefix(first, "`") {
		b.WriteString(strings.Repeat("|---", len(cells)) + "|\n")
	}
}

// exampleBody quotes what a function of the examples does, without its own
// braces and, if all is in a function main, without that.
func exampleBody(source, name string) string {
	_, body, _ := strings.Cut(source, "\nfunc "+name+" {\n")
	body, _, _ = strings.Cut(body, "\n}\n")
	indent := "\t"
	if rest, ok := strings.CutPrefix(body, "\tmain := func() { // of the program\n"); ok {
		body, _, _ = strings.Cut(rest, "\n\t}\n")
		indent = "\t\t"
	}
	var b strings.Builder
	for line := range strings.Lines(body + "\n") {
		b.WriteString(strings.TrimPrefix(line, indent))
	}
	return b.String()
}
