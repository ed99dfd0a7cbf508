package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
)

// fuzz runs the fuzz targets, several at the same time.
func (c *campaign) fuzz(ctx context.Context) error {
	found, err := functions(ctx, "Fuzz", "./...", "./cmd/overlaydiff/...")
	if err != nil {
		return err
	}
	var targets []function
	for _, f := range found {
		if c.match.MatchString(f.name) {
			targets = append(targets, f)
		}
	}
	if len(targets) == 0 {
		return nil
	}
	each := c.fuzzTime
	if each == 0 {
		each = c.budget * (100 - testShare) / 100 * time.Duration(c.jobs) / time.Duration(len(targets))
	}
	var lock sync.Mutex
	var errs []error
	var workers sync.WaitGroup
	queue := make(chan function)
	for range max(1, c.jobs) {
		workers.Go(func() {
			for f := range queue {
				r, err := c.fuzzOne(ctx, f, each)
				lock.Lock()
				if err != nil {
					errs = append(errs, err)
				} else if ctx.Err() == nil {
					c.done(r)
				}
				lock.Unlock()
			}
		})
	}
	for _, f := range targets {
		if ctx.Err() == nil {
			queue <- f
		}
	}
	close(queue)
	workers.Wait()
	return errors.Join(errs...)
}

// fuzzOne runs one target. What it says is kept in a file, too.
func (c *campaign) fuzzOne(ctx context.Context, f function, long time.Duration) (torture.Record, error) {
	start := time.Now()
	// Coverage varies with goroutines: to minimize for long would be all that it does.
	cmd := command(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+f.name+"$", "-fuzztime", long.String(), "-fuzzminimizetime", "1x",
		"-parallel", strconv.Itoa(max(1, runtime.NumCPU()/c.jobs)), f.pkg)
	out, failure := cmd.CombinedOutput()
	r := torture.Record{Area: torture.Fuzzing, Test: f.name, Failed: failure != nil && !onlyTimeUp.Match(out), Seconds: time.Since(start).Seconds()}
	count, err := fuzzCounts(string(out))
	r.Counts = count
	if err != nil { // it did not try a thing, whatever its exit status
		r.Failed = true
		r.Notes = append(r.Notes, err.Error())
	}
	if r.Failed {
		r.Notes = append(r.Notes, lastLines(string(out), 20))
	}
	return r, os.WriteFile(filepath.Join(c.dir, f.name+".txt"), out, 0o644)
}

// onlyTimeUp matches what go test -fuzz prints if it takes the end of its own -fuzztime for a
// failure, which it does now and then before Go 1.27 (https://go.dev/issue/75804). Of an input
// that fails it says more between these lines.
var onlyTimeUp = regexp.MustCompile(`(?m)^--- FAIL: Fuzz\w+ \([\d.]+s\)\n    context deadline exceeded\nFAIL$`)

var fuzzLine = regexp.MustCompile(`fuzz: elapsed: .*, execs: (\d+) \(.*\(total: (\d+)\)`)

// fuzzCounts finds what go test -fuzz said last.
func fuzzCounts(out string) ([]torture.Count, error) {
	all := fuzzLine.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return nil, errors.New("go test does not say how many inputs it tried")
	}
	last := all[len(all)-1]
	execs, err := strconv.ParseInt(last[1], 10, 64)
	if err != nil {
		return nil, err
	}
	corpus, err := strconv.ParseInt(last[2], 10, 64)
	if execs == 0 {
		err = errors.New("no input was tried")
	}
	return []torture.Count{{Unit: "inputs tried", N: execs}, {Unit: "in the corpus", N: corpus}}, err
}

// lastLines are the last n of what a command printed.
func lastLines(out string, n int) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
