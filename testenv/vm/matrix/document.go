package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/testenv"
)

const head = `<!-- Written by make test-vm kernels-doc of what the kernels did; not by hand. -->

# What kernels do, and that the tests pass on them

    make test-vm             run all tests on these kernels, in virtual machines: root, Debian or a relative, about half an hour
    make test-vm ARCH=arm64  the same on kernels for arm64, emulated; ARCH=s390x on one whose byte order is the other
    make kernels-doc         write this document of the results
    make test-vm KERNELS='5.10 6.12' RUN=TestConformance    a part

Each kernel is the newest of its series in Debian's archive, in the flavour for clouds; "latest" is the newest of all. A machine
has nothing but the kernel, the test binaries and the tools that these call. Its file systems are made by the host: ext4 (4 KiB
blocks, fs-verity), xfs, btrfs, tmpfs, and read-only images of erofs and squashfs.

`

// document writes the results of all tests as Markdown.
func document(o options) error {
	results, err := readResults(o.results)
	if err != nil {
		return err
	}
	results = slices.DeleteFunc(results, func(r *Result) bool { return r.Part })
	if len(results) == 0 {
		return fmt.Errorf("no results in %s: run make test-vm first", o.results)
	}
	b := &strings.Builder{}
	b.WriteString(head)
	writeKernels(b, results)
	writeSuites(b, results)
	writeAbsences(b, results)
	if err := writeProbes(b, results); err != nil {
		return err
	}
	return os.WriteFile(o.document, []byte(b.String()), 0o644)
}

// row writes a row of a table, and after its heads the line below them.
func row(b *strings.Builder, heads bool, cells ...string) {
	for i, cell := range cells {
		cells[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(cell)
	}
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	if heads {
		b.WriteString(strings.Repeat("|---", len(cells)) + "|\n")
	}
}

func writeKernels(b *strings.Builder, results []*Result) {
	row(b, true, "kernel", "architecture", "release", "version", "tests", "boots in", "takes")
	emulated := false
	for _, r := range results {
		n := Suite{}
		for _, s := range r.Suites {
			n.Passed += s.Passed
			n.Failed += s.Failed
		}
		verdict := fmt.Sprintf("%d pass", n.Passed)
		if n := len(r.complaints()); n > 0 {
			verdict += fmt.Sprintf(", **%d complaints**", n)
		}
		row(b, false, r.Series, r.Arch, r.Release, r.Version, verdict, fmt.Sprintf("%.1f s", r.Boot), fmt.Sprintf("%.0f s", r.Seconds))
		emulated = emulated || r.Emulated
	}
	if emulated {
		b.WriteString("\nTimes are those of a processor that QEMU emulates, on two shared cores: file work is 5 to 20 times slower there, hashing 60 times.\n")
	}
}

// kernelColumns are the heads of a table with a column for each kernel.
func kernelColumns(first string, results []*Result) []string {
	heads := []string{first}
	for _, r := range results {
		heads = append(heads, r.short())
	}
	return heads
}

// short is the release without the flavour for clouds, and the architecture unless it is amd64:
// 7.3.4+deb13, 7.3.4+deb13 arm64, 7.3.4+deb13 arm64-16k.
func (r *Result) short() string {
	release, flavour := r.Release, ""
	if i := strings.LastIndex(release, "-"+r.Arch); i > 0 {
		release, flavour = strings.TrimSuffix(release[:i], "-cloud"), release[i+1:]
	}
	if flavour == "amd64" {
		return release
	}
	return release + " " + flavour
}

func writeSuites(b *strings.Builder, results []*Result) {
	b.WriteString("\n## Tests\n\nHow many tests passed, how many are about something that the kernel does not have (see below), and the seconds. Subtests count, and what has some doesn't.\n\n")
	row(b, true, kernelColumns("package", results)...)
	for _, name := range suiteNames(results) {
		cells := []string{"`" + name + "`"}
		for _, r := range results {
			cell := ""
			if i := slices.IndexFunc(r.Suites, func(s Suite) bool { return s.Package == name }); i >= 0 {
				cell = r.Suites[i].cell()
			}
			cells = append(cells, cell)
		}
		row(b, false, cells...)
	}
	failures := false
	for _, r := range results {
		for _, complaint := range r.complaints() {
			if !failures {
				b.WriteString("\nComplaints:\n\n")
				failures = true
			}
			fmt.Fprintf(b, "- %s: %s\n", r.short(), strings.SplitN(complaint, "\n", 2)[0])
		}
	}
	if !failures {
		b.WriteString("\nNone failed, and none was skipped for any other reason.\n")
	}
}

func suiteNames(results []*Result) (names []string) {
	for _, r := range results {
		for _, s := range r.Suites {
			if !slices.Contains(names, s.Package) {
				names = append(names, s.Package)
			}
		}
	}
	return names
}

func (s Suite) cell() string {
	cell := fmt.Sprint(s.Passed)
	if s.verdict() != passed {
		cell = fmt.Sprintf("**%s** %d, %d failed", s.verdict(), s.Passed, s.Failed)
	}
	if n := s.absences(); n > 0 {
		cell += fmt.Sprintf(", %d not there", n)
	}
	if n := s.Skipped - s.absences(); n > 0 {
		cell += fmt.Sprintf(", %d skipped", n)
	}
	return cell + fmt.Sprintf("; %.0f s", s.Seconds)
}

func writeAbsences(b *strings.Builder, results []*Result) {
	b.WriteString("\n## What is not there\n\nTests of it are left out, and nothing else is; a kernel that lacks more, or less, fails the run.\n\n")
	for _, r := range results {
		fmt.Fprintf(b, "- %s: %s\n", r.short(), orNothing(r.absences()))
	}
}

func orNothing(lines []string) string {
	if len(lines) == 0 {
		return "nothing is missing"
	}
	return strings.Join(lines, "; ")
}

// absences returns what tests were left out for, with the number of tests.
func (r *Result) absences() (lines []string) {
	on := map[string][]string{} // what → file systems
	for _, s := range r.Suites {
		for what := range s.Absent {
			need, fs := cutFS(what)
			if !slices.Contains(on[need], fs) {
				on[need] = append(on[need], fs)
			}
		}
	}
	for _, need := range slices.Sorted(maps.Keys(on)) {
		line := need
		if !slices.Contains(on[need], "") && len(on[need]) < len(everywhere) {
			slices.Sort(on[need])
			line += " on " + strings.Join(on[need], ", ")
		}
		lines = append(lines, line)
	}
	return lines
}

// cutFS undoes testenv.Lacks.
func cutFS(what string) (need, fs string) {
	for _, fs := range everywhere {
		if need, ok := strings.CutSuffix(what, " on "+string(fs)); ok {
			return need, string(fs)
		}
	}
	return what, ""
}

// answers is what probe said, as far as it is here.
type answers struct {
	Features []struct{ Name, Group, Asks, Answer string }
}

func writeProbes(b *strings.Builder, results []*Result) error {
	b.WriteString("\n## What probe finds\n\nThe answers of `overlaydiff probe` to root on ext4, and on tmpfs where it has another; `?` is \"cannot tell\". [probe.md](probe.md) says how each is found.\n")
	probed := map[*Result]map[string]answers{}
	var all answers
	for _, r := range results {
		probed[r] = map[string]answers{}
		for fs, raw := range r.Probes {
			var a answers
			if err := json.Unmarshal(raw, &a); err != nil {
				return fmt.Errorf("probe of %s on %s: %w", r.Series, fs, err)
			}
			probed[r][fs] = a
			if len(a.Features) > len(all.Features) {
				all = a
			}
		}
	}
	if len(all.Features) == 0 {
		return errors.New("the results have no answers of overlaydiff probe")
	}
	group := ""
	for _, f := range all.Features {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(b, "\n### %s\n\n", group)
			row(b, true, append(kernelColumns("", results), "which is")...)
		}
		cells := []string{"`" + f.Name + "`"}
		for _, r := range results {
			cell := probed[r][string(testenv.Ext4)].of(f.Name)
			if other := probed[r][string(testenv.Tmpfs)].of(f.Name); other != cell {
				cell += ", tmpfs " + other
			}
			cells = append(cells, cell)
		}
		row(b, false, append(cells, f.Asks)...)
	}
	return nil
}

func (a answers) of(name string) string {
	for _, f := range a.Features {
		if f.Name != name {
			continue
		}
		if f.Answer == "unknown" {
			return "?"
		}
		return f.Answer
	}
	return "not asked"
}
