// Report turns the output of bench/peers into pages: Markdown with its plots
// beside it, and one HTML page that needs nothing else and no network.
//
//	report [-o DIR] [-page FILE] FILE...
//
// writes DIR/benchmarks.md with a few plots in DIR/benchmarks, and the page, which has all
// plots and tables. What is plotted follows from what was measured: wherever scenarios
// differ in one number alone, that number is an axis.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	dir := flag.String("o", "docs", "the directory of the Markdown")
	page := flag.String("page", "benchmarks.html", "the file of the page")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: report [-o DIR] [-page FILE] FILE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := report(*dir, *page, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func report(dir, page string, files []string) error {
	r, err := read(files)
	if err != nil {
		return err
	}
	if len(r.scenes) == 0 {
		return fmt.Errorf("no benchmarks in %q", files)
	}
	charts := r.charts()
	plots := filepath.Join(dir, "benchmarks")
	if err := os.RemoveAll(plots); err != nil { // of an older run
		return err
	}
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	for _, c := range few(charts) {
		if err := os.WriteFile(filepath.Join(plots, c.file()), []byte(c.svg()), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "benchmarks.md"), []byte(markdown(r, charts)), 0o644); err != nil {
		return err
	}
	all, err := html(r, charts)
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(all), 0o644)
}
