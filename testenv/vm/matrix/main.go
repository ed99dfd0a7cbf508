// Matrix runs the tests of this module on several kernels, each in a virtual
// machine, and says what became of them. make test-vm calls it.
//
// A kernel that does not boot fails, as does a test; a series of kernels that
// the archive has no longer is named, and fewer than three kernels fail.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/overlaydiff/overlaydiff/testenv/vm"
)

// fewest is how many kernels make a matrix, unless fewer were asked for.
const fewest = 3

const allPackages = "./... ./cmd/overlaydiff/..."

type options struct {
	arch                   string
	kernels, run, packages string
	results, document      string
	slice, verbose         bool
	deadline               time.Duration
	jobs                   int
}

func main() {
	var o options
	flag.StringVar(&o.arch, "arch", "amd64", "the `architecture` of the machines: amd64, arm64 or s390x")
	flag.StringVar(&o.kernels, "kernels", "", "the `series` of kernels; \"5.10 6.1 6.12 6.18 latest\", for arm64 \"6.1 6.12 latest\"")
	flag.StringVar(&o.run, "run", "", "only the tests that match this `expression`, as of go test")
	flag.StringVar(&o.packages, "packages", allPackages, "the `packages` whose tests to run, as of go list")
	flag.BoolVar(&o.slice, "slice", false, "a part that takes minutes: the suite and few random cases")
	flag.StringVar(&o.results, "results", "", "`directory` of the results, one file of JSON a kernel, and of all output; dist/kernels or, of a part, dist/kernels-part")
	flag.StringVar(&o.document, "document", "", "instead of running anything, write the results to this `file` of Markdown")
	flag.BoolVar(&o.verbose, "v", false, "show the output of the tests as it comes")
	flag.DurationVar(&o.deadline, "deadline", 20*time.Minute, "how long a machine may take")
	flag.IntVar(&o.jobs, "jobs", min(2, runtime.NumCPU()), "how many machines run at the same time; each keeps one processor busy, at times two")
	flag.Parse()
	if o.kernels == "" {
		o.kernels = map[string]string{"amd64": "5.10 6.1 6.12 6.18 latest", "arm64": "6.1 6.12 latest", "s390x": "6.12"}[o.arch]
	}
	if o.results == "" {
		o.results = "dist/kernels"
		if o.part() {
			o.results += "-part"
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	var err error
	if o.document != "" {
		err = document(o)
	} else {
		err = matrix(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

// matrix runs all and prints a table. Its error says what of it failed.
func matrix(ctx context.Context, o options) (err error) {
	kernels, err := vm.Fetch(ctx, o.arch, strings.Fields(o.kernels)...)
	if err != nil {
		return err
	}
	kit, err := vm.NewKit(ctx, o.arch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kit.Close()) }()
	plan, err := newPlan(ctx, o, filepath.Join(kit.Dir, "tests.cpio"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.results, 0o755); err != nil {
		return err
	}
	return each(ctx, o.jobs, kernels, func(n int, k vm.Kernel) (*Result, error) { return plan.try(ctx, n, k, kit) })
}

// each tries all kernels that there are, some at the same time, and prints a table.
func each(ctx context.Context, jobs int, kernels []vm.Kernel, try func(int, vm.Kernel) (*Result, error)) error {
	errs, tried := make([]error, len(kernels)), make([]*Result, len(kernels))
	slots := make(chan struct{}, jobs)
	var running sync.WaitGroup
	for n, k := range kernels {
		if k.Dir == "" {
			fmt.Printf("%s: MISSING: the archive has no kernel of this series\n", k.ID())
			continue
		}
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		running.Go(func() {
			defer func() { <-slots }()
			tried[n], errs[n] = try(n, k)
		})
	}
	running.Wait()
	if ctx.Err() != nil {
		return errors.Join(errs...)
	}
	results := slices.DeleteFunc(tried, func(r *Result) bool { return r == nil })
	printTable(os.Stdout, results)
	if want := min(fewest, len(kernels)); len(results) < want {
		errs = append(errs, fmt.Errorf("%d kernels have run, want %d at least", len(results), want))
	}
	return errors.Join(errs...)
}

// try runs the plan on the nth kernel. Its error says what failed there.
func (p *plan) try(ctx context.Context, n int, k vm.Kernel, kit *vm.Kit) (*Result, error) {
	start := time.Now()
	m := vm.Machine{Kernel: k, Kit: kit, Archive: p.archive, Deadline: p.options.deadline}
	if p.options.verbose {
		m.Output = os.Stdout
	}
	report, runErr := m.Run(ctx, p.guest(n))
	if ctx.Err() != nil {
		return nil, runErr // interrupted: that says nothing about the kernel
	}
	r, err := p.result(ctx, k, report)
	if err != nil {
		return nil, errors.Join(runErr, err)
	}
	r.Seconds = time.Since(start).Seconds()
	if runErr != nil {
		r.Broken = runErr.Error()
	}
	err = errors.Join(r.write(p.options.results), p.write(k, report))
	var says strings.Builder // at once: other machines have their say, too
	fmt.Fprintf(&says, "%s: %s, booted in %.1f s, %.0f s in all\n", k.ID(), r.Release, r.Boot, r.Seconds)
	for _, line := range r.complaints() {
		fmt.Fprintln(&says, "  "+line)
	}
	fmt.Print(says.String())
	if n := len(r.complaints()); n > 0 {
		err = errors.Join(err, fmt.Errorf("kernel %s: %d complaints, see above and %s", k.ID(), n, p.options.results))
	}
	return r, err
}
