package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
)

// testShare is what of the budget the tests get, in percent; fuzzing has the rest.
const testShare = 60

const testPackage = "./cmd/overlaydiff/internal/torture"

// withoutRace are tests that measure memory, of which the race detector keeps its own.
var withoutRace = regexp.MustCompile("^TestSoak")

// tests runs the torture tests.
func (c *campaign) tests(ctx context.Context) error {
	found, err := functions(ctx, "Test", testPackage)
	if err != nil {
		return err
	}
	var names, plain []string
	for _, f := range found {
		switch {
		case f.name == "TestMain" || !c.match.MatchString(f.name):
		case withoutRace.MatchString(f.name):
			plain = append(plain, f.name)
		default:
			names = append(names, f.name)
		}
	}
	return errors.Join(
		c.goTest(ctx, "race", names, torture.Count{Unit: "tests run with the race detector", N: int64(len(names))}, "-race"),
		c.goTest(ctx, "plain", plain, torture.Count{Unit: "tests run without the race detector", N: int64(len(plain))}))
}

// goTest runs those of the torture tests that are named.
func (c *campaign) goTest(ctx context.Context, label string, names []string, count torture.Count, flags ...string) error {
	if len(names) == 0 || ctx.Err() != nil {
		return nil
	}
	log, err := filepath.Abs(filepath.Join(c.dir, label+".jsonl"))
	if err != nil {
		return err
	}
	if err := os.RemoveAll(log); err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(c.dir, label+".txt"))
	if err != nil {
		return err
	}
	defer out.Close()
	budget := c.budget * testShare / 100
	args := append([]string{"test"}, flags...)
	cmd := command(ctx, "go", append(args, "-count", "1", "-v", "-timeout", (3*budget+time.Hour).String(),
		"-run", "^("+strings.Join(names, "|")+")$", testPackage)...)
	cmd.Env = append(os.Environ(), torture.BudgetEnv+"="+budget.String(), torture.LogEnv+"="+log)
	if os.Geteuid() == 0 {
		cmd.Env = append(cmd.Env, "OVERLAYDIFF_REQUIRE=1")
	}
	follow := &follower{show: os.Stdout}
	cmd.Stdout = io.MultiWriter(out, follow)
	cmd.Stderr = cmd.Stdout
	start := time.Now()
	failure := cmd.Run()
	records, err := readRecords(log)
	if err != nil {
		return err
	}
	for _, r := range records {
		c.done(r)
	}
	// What died has no record of its own.
	all := torture.Record{
		Area: torture.Static, Test: "go " + strings.Join(append(args, testPackage), " "), Seconds: time.Since(start).Seconds(),
		Counts: []torture.Count{count},
		Failed: failure != nil && !slices.ContainsFunc(records, func(r torture.Record) bool { return r.Failed }),
	}
	if all.Failed {
		all.Notes = []string{failure.Error() + ", and no test has noted a failure of its own"}
	}
	c.done(all)
	if failure != nil {
		fmt.Printf("%s\n", follow.tail)
	}
	return nil
}

// readRecords reads what tests have appended to the log; none is no error.
func readRecords(path string) ([]torture.Record, error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	var all []torture.Record
	for dec := json.NewDecoder(bytes.NewReader(data)); err == nil; {
		var r torture.Record
		if err = dec.Decode(&r); err == nil {
			all = append(all, r)
		}
	}
	if err != io.EOF {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return all, nil
}

// follower shows when a test begins and ends, and keeps the last that was said.
type follower struct {
	show io.Writer
	tail []byte
	line []byte
}

const keptTail = 8 << 10

func (f *follower) Write(b []byte) (int, error) {
	f.tail = append(f.tail, b...)
	f.tail = f.tail[max(0, len(f.tail)-keptTail):]
	f.line = append(f.line, b...)
	for {
		line, rest, whole := bytes.Cut(f.line, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		f.line = slices.Clone(rest)
		if topLevel.Match(line) {
			fmt.Fprintf(f.show, "%s\n", line)
		}
	}
}

// topLevel are go test's lines about tests that are no subtests.
var topLevel = regexp.MustCompile(`^(=== RUN  |--- [A-Z]+:) *[^/ ]+( \(.*)?$`)

// function is a test or fuzz target.
type function struct{ pkg, name string }

// functions finds those whose names begin with prefix, in the test files that are
// compiled here.
func functions(ctx context.Context, prefix string, packages ...string) ([]function, error) {
	const format = `{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}`
	files, err := output(ctx, "go", append([]string{"list", "-f", format}, packages...)...)
	if err != nil {
		return nil, err
	}
	declared := regexp.MustCompile(`(?m)^func (` + prefix + `\w*)\(\w+ \*testing\.[TFM]\)`)
	var all []function
	for s := bufio.NewScanner(strings.NewReader(files)); s.Scan(); {
		pkg, file, ok := strings.Cut(s.Text(), " ")
		if !ok { // between two packages
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, m := range declared.FindAllSubmatch(source, -1) {
			all = append(all, function{pkg, string(m[1])})
		}
	}
	return all, nil
}
