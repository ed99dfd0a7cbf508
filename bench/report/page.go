package main

import (
	"fmt"
	"html/template"
	"strings"
)

// row is one subject in a table.
type row struct {
	Name, Time, Spread, Floor, Ours, Memory, Allocs, Answer string
	IsFloor, IsOurs, IsWrong                                bool
}

// table is one scene.
type table struct {
	Task, Scenario string
	Rows           []row
}

var head = []string{"subject", "time", "±", "× floor", "× ours", "peak memory", "allocations", "answer"}

func (r row) cells() []string {
	return []string{r.Name, r.Time, r.Spread, r.Floor, r.Ours, r.Memory, r.Allocs, r.Answer}
}

// newTable compares all with the floor, which is the faster of its thread
// counts, and with the first of ours.
func newTable(s *scene) table {
	t := table{Task: s.task, Scenario: s.name()}
	var floor, ours float64
	for _, x := range s.subjects {
		v, _ := x.median("sec/op")
		switch {
		case strings.HasPrefix(x.name, "floor-walk"):
		case x.isFloor() && (floor == 0 || v < floor):
			floor = v
		case strings.HasPrefix(x.name, "overlaydiff") && ours == 0:
			ours = v
		}
	}
	for _, x := range s.subjects {
		v, _ := x.median("sec/op")
		memory, _ := x.median("peak-B")
		allocs, _ := x.median("allocs/op")
		r := row{
			Name: x.name, Time: format(v, "sec/op"), Spread: x.spread(),
			Floor: times(v, floor), Ours: times(v, ours), Memory: format(memory, "B"), Allocs: fmt.Sprintf("%.0f", allocs),
			Answer: answer(x), IsFloor: x.isFloor(), IsOurs: strings.HasPrefix(x.name, "overlaydiff"), IsWrong: x.wrong() > 0 || x.failed(),
		}
		if x.failed() {
			r.Time, r.Spread, r.Floor, r.Ours, r.Memory, r.Allocs = "", "", "", "", "", ""
		}
		t.Rows = append(t.Rows, r)
	}
	return t
}

func times(v, than float64) string {
	switch {
	case than == 0:
		return ""
	case v/than < 10:
		return fmt.Sprintf("%.2f", v/than)
	}
	return fmt.Sprintf("%.0f", v/than)
}

func answer(x *subject) string {
	more, _ := x.median("unchanged")
	switch {
	case x.isFloor():
		return "the limit"
	case x.failed():
		return "gives up"
	case x.wrong() > 0:
		return fmt.Sprintf("wrong: %d", x.wrong())
	case more > 0:
		return fmt.Sprintf("right, and %.0f unchanged", more)
	}
	return "right"
}

const about = `Each task is done by overlaydiff, by the code that container runtimes use today, and by bare system calls (the
floor), on the same mounts, in the same process, one after the other. Times are medians; ± is the sample farthest from
it. Before anything is timed, its answer is compared with ours, which the tests hold to a reference: "wrong: 9" means
that 9 paths or numbers differ, and what is fast and wrong is no competitor. The floor lists directories and calls
newfstatat for each name, on one and on two threads; × floor is against the faster. The floor of changes reads the
upper directory and looks for each name in the lower layers; floor-walk reads both views through their mounts, as
anything that compares two trees must; floor-read reads the files of the upper directory. Changes are counted as they
come where an engine hands them over one by one (ours, continuity, buildkit), and are a list where it returns one. Gzip is at level 6 and zstd at 3
for all, with the compressor that each runtime uses. Peak memory is what the process grew by. The warm cache is full before; for the
cold one the kernel is made to forget all before each run. Compare subjects of one table, not times of two machines.`

// headline are of the real image, which the Markdown shows in full;
// without any, it shows the last of each task.
func headline(r *results) (list []*scene) {
	for _, s := range r.scenes {
		if s.values["image"] == "debian" {
			list = append(list, s)
		}
	}
	if len(list) > 0 {
		return list
	}
	last := map[string]*scene{}
	for _, s := range r.scenes {
		last[s.task] = s
	}
	for _, s := range r.scenes {
		if last[s.task] == s {
			list = append(list, s)
		}
	}
	return list
}

func markdown(r *results, charts []*chart) string {
	var b strings.Builder
	b.WriteString("<!-- Written by bench/report: make bench-full. -->\n\n# Benchmarks\n\n" + about + "\n\n")
	b.WriteString("`make bench-report` also writes bench/out/benchmarks.html, which has a table for every scenario and all plots.\n\n## Where this was measured\n\n")
	for _, m := range r.machine {
		fmt.Fprintf(&b, "- %s: %s\n", m[0], m[1])
	}
	fmt.Fprintf(&b, "- samples of each: %d\n", r.runs)
	for _, s := range headline(r) {
		t := newTable(s)
		fmt.Fprintf(&b, "\n## %s: %s\n\n| %s |\n|%s\n", t.Task, t.Scenario, strings.Join(head, " | "), strings.Repeat("---|", len(head)))
		for _, row := range t.Rows {
			cells := row.cells()
			if row.IsOurs {
				cells[0] = "**" + cells[0] + "**"
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	for _, c := range few(charts) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n![%s](benchmarks/%s)\n", c.title(), c.constant(), c.title(), c.file())
	}
	return b.String()
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>overlaydiff: benchmarks</title>
<style>
body { font: 16px/1.5 sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem; font-size: 1.25rem }
.scroll { overflow-x: auto } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-size: .9rem; margin: 1rem 0 }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left }
.ours td { font-weight: bold } .floor td { color: #666; font-style: italic } .wrong td:last-child { color: #b00020 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: .9rem } dt { color: #666 } dd { margin: 0 }
</style></head><body>
<h1>overlaydiff: benchmarks</h1>
<p>{{.About}}</p>
<h2>Where this was measured</h2>
<dl>{{range .Machine}}<dt>{{index . 0}}</dt><dd>{{index . 1}}</dd>{{end}}<dt>samples of each</dt><dd>{{.Runs}}</dd></dl>
{{range .Charts}}<h2>{{.Title}}</h2>
<p>{{.Constant}}</p>
<div class="scroll">{{.SVG}}</div>
{{end}}{{range .Tables}}<h2>{{.Task}}: {{.Scenario}}</h2>
<div class="scroll"><table><thead><tr>{{range $.Head}}<th>{{.}}</th>{{end}}</tr></thead><tbody>
{{range .Rows}}<tr class="{{if .IsOurs}}ours {{end}}{{if .IsFloor}}floor {{end}}{{if .IsWrong}}wrong{{end}}"><td>{{.Name}}</td><td>{{.Time}}</td><td>{{.Spread}}</td><td>{{.Floor}}</td><td>{{.Ours}}</td><td>{{.Memory}}</td><td>{{.Allocs}}</td><td>{{.Answer}}</td></tr>
{{end}}</tbody></table></div>
{{end}}</body></html>
`))

func html(r *results, charts []*chart) (string, error) {
	type figure struct {
		Title, Constant string
		SVG             template.HTML
	}
	data := struct {
		About   string
		Machine [][2]string
		Runs    int
		Head    []string
		Charts  []figure
		Tables  []table
	}{About: about, Machine: r.machine, Runs: r.runs, Head: head}
	for _, c := range charts {
		data.Charts = append(data.Charts, figure{c.title(), c.constant(), template.HTML(c.svg())}) //nolint:gosec // made above, with names escaped
	}
	for _, s := range r.scenes {
		data.Tables = append(data.Tables, newTable(s))
	}
	var b strings.Builder
	err := page.Execute(&b, data)
	return b.String(), err
}
