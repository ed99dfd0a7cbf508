// Campaign runs the torture tests, every fuzz target of the module, and the
// static checks, and writes docs/reliability.md of what they tried and found. make
// torture calls it, at the module's root.
//
// What to run, and for how long, are flags; what there is to run is found, in no
// list. Results are kept in a log, the newest of each test: a part may be run
// again, or longer. The exit status is 1 if anything that ran failed.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
)

type campaign struct {
	budget   time.Duration
	fuzzTime time.Duration // 0: what the budget leaves
	jobs     int
	run      string
	match    *regexp.Regexp
	dir      string // of the log, and of output
	document string

	records []torture.Record // of this run
}

func main() {
	var c campaign
	flag.DurationVar(&c.budget, "budget", 30*time.Minute, "about how long tests and fuzzing take together")
	flag.DurationVar(&c.fuzzTime, "fuzztime", 0, "how long each fuzz target is run; else the budget says")
	flag.IntVar(&c.jobs, "jobs", runtime.NumCPU(), "how many fuzz targets are run at the same time")
	flag.StringVar(&c.run, "run", "", "only tests, fuzz targets and checks whose names match this `expression`; what the log has of others stays")
	flag.StringVar(&c.dir, "dir", "dist/torture", "`directory` of the log and of the tests' output")
	flag.StringVar(&c.document, "document", "", "write what the log has to this `file` of Markdown")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := c.all(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "campaign:", err)
		os.Exit(1)
	}
}

// all runs what is asked for. Its error says what failed.
func (c *campaign) all(ctx context.Context) (err error) {
	if c.match, err = regexp.Compile(c.run); err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	l := ledger{path: filepath.Join(c.dir, "log.jsonl")}
	if c.run != "" {
		if err := l.read(); err != nil {
			return err
		}
	}
	commit, err := commitOf(ctx)
	if err != nil {
		return err
	}
	var broken error
	for _, part := range []func(context.Context) error{c.tests, c.fuzz, c.static} {
		broken = errors.Join(broken, part(ctx))
		if ctx.Err() != nil {
			return ctx.Err() // that says nothing about what was tested, and the log stays
		}
	}
	if len(c.records) == 0 {
		return errors.Join(broken, fmt.Errorf("no test, fuzz target or check matches %q", c.run))
	}
	l.add(commit, c.records)
	err = errors.Join(broken, l.write())
	if c.document != "" {
		err = errors.Join(err, l.document(c.document))
	}
	var failed []string
	for _, r := range c.records {
		if r.Failed {
			failed = append(failed, r.Test)
		}
	}
	if len(failed) > 0 {
		err = errors.Join(err, fmt.Errorf("failed: %s; see above and %s", strings.Join(failed, ", "), c.dir))
	}
	return err
}

// done keeps a record and shows it.
func (c *campaign) done(r torture.Record) {
	c.records = append(c.records, r)
	verdict := "ok  "
	if r.Failed {
		verdict = "FAIL"
	}
	fmt.Printf("%s %-40s %7.1f s  %s\n", verdict, r.Test, r.Seconds, tried(r.Counts))
	if r.Failed {
		fmt.Println(strings.Join(r.Notes, "\n"))
	}
}

// command is a command that an interrupt of ours ends, with all that it started.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// output is what a command prints; its error has what the command says of it.
func output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := command(ctx, name, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s %s", err, bytes.TrimSpace(out), bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// commitOf names the commit that is checked out, "+" if something is changed.
func commitOf(ctx context.Context) (string, error) {
	commit, err := output(ctx, "git", "rev-parse", "--short=10", "HEAD")
	if err != nil {
		return "", err
	}
	changed, err := output(ctx, "git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/reliability.md")
	if changed != "" {
		commit += "+"
	}
	return commit, err
}
