package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/testenv/vm"
)

// plan is what each kernel runs.
type plan struct {
	options options
	archive string
	suites  []string // packages of the module, in order
	guestOf map[string]vm.Command
}

const module = "github.com/overlaydiff/overlaydiff"

// hostOnly are packages whose tests say nothing about a kernel, or need the go
// command.
var hostOnly = []string{"bench", "diff", "internal/archtest", "testenv/vm", "testenv/vm/matrix"}

// newPlan builds the packages' tests and packs them.
func newPlan(ctx context.Context, o options, archive string) (*plan, error) {
	p := &plan{options: o, archive: archive, guestOf: map[string]vm.Command{}}
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-f",
		"{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}"}, strings.Fields(o.packages)...)...)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", list, err)
	}
	bin := archive + ".bin"
	defer os.RemoveAll(bin)
	var build error
	pack := func(f *vm.Files) {
		for line := range strings.Lines(string(out)) {
			path, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
			name := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
			if name == "" {
				name = "."
			}
			if slices.Contains(hostOnly, name) {
				continue
			}
			test := filepath.Join(bin, "test")
			if build = vm.GoBuild(ctx, test, "test", "-c", path); build != nil {
				return
			}
			p.add(f, name, dir, test)
		}
		program := filepath.Join(bin, "overlaydiff")
		if build = vm.GoBuild(ctx, program, "build", module+"/cmd/overlaydiff"); build == nil {
			f.Program("/bin/overlaydiff", program)
		}
	}
	if err := vm.Pack(archive, pack); err != nil || build != nil {
		return nil, fmt.Errorf("pack the tests: %w", cmpErr(err, build))
	}
	return p, nil
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// add adds the tests of a package.
func (p *plan) add(f *vm.Files, name, dir, test string) {
	work := "/work/" + name
	c := vm.Command{Dir: work, Args: []string{work + "/" + filepath.Base(dir) + ".test", "-test.v=test2json", "-test.timeout=15m"}}
	if p.options.run != "" {
		c.Args = append(c.Args, "-test.run="+p.options.run)
	}
	if p.options.slice {
		c.Args = append(c.Args, "-test.short")
	}
	f.Program(c.Args[0], test)
	f.Tree(work+"/testdata", filepath.Join(dir, "testdata"))
	p.suites = append(p.suites, name)
	p.guestOf[name] = c
}

// probes are what else each guest runs, for its output: one JSON document each,
// which the result keeps.
var probes = map[string]vm.Command{}

func (p *plan) guest() vm.Guest {
	g := vm.Guest{Env: vm.TestEnv()}
	cases := "OVERLAYDIFF_CASES=60"
	if p.options.slice {
		cases = "OVERLAYDIFF_CASES=12"
	}
	g.Env = append(g.Env, cases)
	for _, pair := range os.Environ() { // a later one goes before
		if strings.HasPrefix(pair, "OVERLAYDIFF_") {
			g.Env = append(g.Env, pair)
		}
	}
	for _, name := range p.suites {
		g.Commands = append(g.Commands, p.guestOf[name])
	}
	for _, name := range p.probes() {
		g.Commands = append(g.Commands, probes[name])
	}
	return g
}

func (p *plan) probes() []string {
	var names []string
	for name := range probes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// result reads what a kernel's machine reported.
func (p *plan) result(ctx context.Context, k vm.Kernel, report *vm.Report) (*Result, error) {
	r := &Result{
		Series: k.Series, Kernel: k.Name(), Release: report.Ready.Release, Version: report.Ready.Version,
		Boot: report.Ready.Uptime, Emulated: report.Emulated, Probes: map[string]json.RawMessage{},
	}
	for i, name := range p.suites {
		s := Suite{Package: name, Exit: notRun}
		if i < len(report.Outputs) {
			if err := s.read(ctx, report.Outputs[i]); err != nil {
				return nil, err
			}
		}
		if i < len(report.Commands) {
			s.Exit, s.Seconds = report.Commands[i].Exit, report.Commands[i].Seconds
		}
		r.Suites = append(r.Suites, s)
	}
	for i, name := range p.probes() {
		if i += len(p.suites); i < len(report.Commands) {
			if out := report.Outputs[i]; json.Valid(out) {
				r.Probes[name] = bytes.TrimSpace(out)
			} else {
				r.Broken += fmt.Sprintf("%s: exit status %d, and no JSON: %.200q", name, report.Commands[i].Exit, out)
			}
		}
	}
	return r, nil
}

// write writes all that a machine said, for whoever wants to know more.
func (p *plan) write(k vm.Kernel, report *vm.Report) error {
	var b bytes.Buffer
	for i, out := range report.Outputs {
		if i < len(p.suites) {
			fmt.Fprintf(&b, "== %s\n", p.suites[i])
		}
		b.Write(bytes.ReplaceAll(out, []byte("\x16"), nil)) // marks of -test.v=test2json
	}
	fmt.Fprintf(&b, "== console\n%s", report.Console)
	return os.WriteFile(filepath.Join(p.options.results, k.Series+".txt"), b.Bytes(), 0o644)
}
