package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
)

// entry is the newest record of a test, and where it is from.
type entry struct {
	torture.Record
	Commit string `json:"commit"`
	Kernel string `json:"kernel"`
	CPUs   int    `json:"cpus"`
	Go     string `json:"go"`
}

// ledger is the log: one entry a test.
type ledger struct {
	path    string
	entries []entry
}

func (l *ledger) read() error {
	data, err := os.ReadFile(l.path)
	if os.IsNotExist(err) {
		return nil
	}
	for dec := json.NewDecoder(bytes.NewReader(data)); err == nil; {
		var e entry
		if err = dec.Decode(&e); err == nil {
			l.entries = append(l.entries, e)
		}
	}
	if err != io.EOF {
		return fmt.Errorf("read %s: %w", l.path, err)
	}
	return nil
}

// add replaces what there is of the same tests.
func (l *ledger) add(commit string, records []torture.Record) {
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte(err.Error())
	}
	for _, r := range records {
		l.entries = slices.DeleteFunc(l.entries, func(e entry) bool { return e.Area == r.Area && e.Test == r.Test })
		l.entries = append(l.entries, entry{r, commit, strings.TrimSpace(string(kernel)), runtime.NumCPU(), runtime.Version()})
	}
}

func (l *ledger) write() error {
	var b bytes.Buffer
	for _, e := range l.entries {
		if err := json.NewEncoder(&b).Encode(e); err != nil {
			return err
		}
	}
	return os.WriteFile(l.path, b.Bytes(), 0o644)
}

const head = `<!-- Written by make torture; not by hand. -->

# What was done to it, and what failed

    make torture BUDGET=30m             all of this again, and this document; root
    make torture RUN=^Fuzz FUZZ_TIME=1h a part of it, longer: the newest result of each test is kept

The tests are in cmd/overlaydiff/internal/torture; go test runs a slice of them. What they are to defend is in [SECURITY.md](../SECURITY.md).

`

// document writes all that is in the log as Markdown.
func (l *ledger) document(path string) error {
	b := &strings.Builder{}
	b.WriteString(head)
	b.WriteString("Results are of ")
	b.WriteString(strings.Join(l.origins(), "; and of "))
	b.WriteString(".\n\n")
	areas := torture.Areas()
	for _, e := range l.entries {
		if !slices.Contains(areas, e.Area) {
			areas = append(areas, e.Area)
		}
	}
	row(b, true, "", "tests", "tried", "failures")
	for _, area := range areas {
		l.summary(b, area)
	}
	for _, area := range areas {
		l.table(b, area)
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// origins says on what the results were had.
func (l *ledger) origins() []string {
	var all []string
	for _, e := range l.entries {
		s := fmt.Sprintf("commit %s on Linux %s, %d CPUs, %s", e.Commit, e.Kernel, e.CPUs, e.Go)
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// of are the entries of an area, by name.
func (l *ledger) of(area torture.Area) []entry {
	list := slices.DeleteFunc(slices.Clone(l.entries), func(e entry) bool { return e.Area != area })
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.Test, b.Test) })
	return list
}

func (l *ledger) summary(b *strings.Builder, area torture.Area) {
	list := l.of(area)
	if len(list) == 0 {
		row(b, false, string(area), "0", "not run", "")
		return
	}
	var sum []torture.Count
	failures := 0
	for _, e := range list {
		if e.Failed {
			failures++
		}
		for _, c := range e.Counts {
			i := slices.IndexFunc(sum, func(s torture.Count) bool { return s.Unit == c.Unit })
			if i < 0 {
				sum = append(sum, c)
			} else {
				sum[i].N += c.N
			}
		}
	}
	row(b, false, string(area), strconv.Itoa(len(list)), tried(sum), bad(failures))
}

func bad(failures int) string {
	if failures == 0 {
		return "0"
	}
	return fmt.Sprintf("**%d**", failures)
}

func (l *ledger) table(b *strings.Builder, area torture.Area) {
	list := l.of(area)
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", strings.ToUpper(string(area[:1]))+string(area[1:]))
	row(b, true, "", "tried", "seconds", "commit", "result")
	for _, e := range list {
		result := "ok"
		if e.Failed {
			result = "**failed**"
		}
		row(b, false, e.Test, tried(e.Counts), fmt.Sprintf("%.0f", e.Seconds), e.Commit, result)
	}
	first := true
	for _, e := range list {
		for _, note := range e.Notes {
			if first {
				b.WriteString("\n")
			}
			first = false
			fmt.Fprintf(b, "- %s: %s\n", e.Test, strings.Join(strings.Fields(note), " "))
		}
	}
}

// tried is a list of counts in words.
func tried(counts []torture.Count) string {
	words := make([]string, len(counts))
	for i, c := range counts {
		words[i] = thousands(c.N) + " " + c.Unit
	}
	return strings.Join(words, ", ")
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
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
