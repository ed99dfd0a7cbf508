package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
)

// nodeFlags are the flags of commands that are about all containers.
type nodeFlags struct {
	root   string
	compat string
}

func (f *nodeFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.root, "root", "/", "`DIR` that is the node's root, seen from a container")
	flags.StringVar(&f.compat, "compat", "", "count as `TOOL` does: "+strings.Join(node.Tools(), ", "))
}

func (f *nodeFlags) rule() (node.Rule, error) {
	if err := checkRoot(f.root); err != nil {
		return node.Rule{}, err
	}
	return ruleOf(f.compat)
}

func ruleOf(tool string) (node.Rule, error) {
	rule, ok := node.RuleOf(tool)
	if !ok {
		return rule, usagef("--compat %s: it is one of %s", diff.QuotePath(tool), strings.Join(node.Tools(), ", "))
	}
	return rule, nil
}

// checkRoot returns an error if the node's root is not there: else nothing would
// be found, in silence.
func checkRoot(root string) error {
	info, err := os.Stat(root)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return usagef("--root %s: %v: name the directory where the node's root is mounted", diff.QuotePath(root), errors.Unwrap(err))
	case err != nil:
		return fmt.Errorf("--root %s: %w", diff.QuotePath(root), errors.Unwrap(err))
	case !info.IsDir():
		return usagef("--root %s: it is no directory", diff.QuotePath(root))
	}
	return nil
}

// psFlags are the flags of ps.
type psFlags struct {
	nodeFlags
	json, quiet, whole, all, total bool
	watch                          time.Duration
	top                            int
	sort, by, units, format        string
	filters                        []string
}

func psCommand() *cobra.Command {
	var f psFlags
	cmd := &cobra.Command{
		Use:   "ps [flags] [NAME]...",
		Short: "List the containers and overlays of this machine, the biggest first",
		Long: `ps lists the containers of Docker, containerd (Kubernetes, nerdctl), Podman,
Buildah, CRI-O and iSulad, running or not, and other mounted overlays.
It reads the runtimes' files on disk and asks no daemon. With NAMEs, it lists only those.

  RUNTIME    podman@alice: it is in the store of the user alice, who controls
             what the store says
  NAMESPACE  the namespace in containerd
  SIZE       what the writable layer holds (SizeRw)
  ROOTFS     SIZE and the layers of the image (SizeRootFs); for containerd's
             snapshots, the allocated bytes
  INODES     inodes of the writable layer, including directories
  SAVABLE    files that equal the image's but were copied up by chmod, chown or an
             open for writing. Estimated from size and mtime

--format takes a Go template: {{.ID}}, .Name, .Names, .Runtime, .Owner, .Namespace,
.Pod, .State, .Age, .Size, .RootFS, .Inodes, .Savable, .Image, .PID, .Upper, and
{{json .}}. A template that begins with "table " prints aligned columns and a header.

With --top, it lists the biggest files and directories of one writable layer.`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "one JSON object a container")
	flags.StringVar(&f.format, "format", "", "print each container by a Go `TEMPLATE`")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print ids alone")
	flags.BoolVar(&f.whole, "no-trunc", false, "cut no id and no image")
	flags.StringVar(&f.sort, "sort", "size", "sort by `KEYS`: "+strings.Join(sortKeys(), ", "))
	flags.StringArrayVar(&f.filters, "filter", nil, "only those with `KEY=VALUE` (or KEY!=VALUE): "+strings.Join(filterKeys(), ", "))
	flags.StringVar(&f.by, "by", "", "sums by `KEY`: "+strings.Join(groupKeys(), ", "))
	flags.BoolVar(&f.total, "total", false, "add the sum of all")
	flags.StringVar(&f.units, "units", "iec", "sizes in `UNITS`: iec (KiB), si (kB) or bytes")
	flags.BoolVar(&f.all, "all-users", false, "for a user who is not root: other users' and root's, too")
	flags.DurationVar(&f.watch, "watch", 0, "list anew each `INTERVAL` (5s, 1m) until interrupted")
	flags.IntVar(&f.top, "top", 0, "list the `N` biggest files and directories of one STACK")
	return cmd
}

func (f *psFlags) run(cmd *cobra.Command, args []string) error {
	rule, err := f.rule()
	if err != nil {
		return err
	}
	p := lister{
		out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), terminal: cmd.ErrOrStderr(), root: f.root, rule: rule, names: args,
		own: !f.all && os.Geteuid() != 0, json: f.json, quiet: f.quiet, whole: f.whole, total: f.total,
	}
	if p.bytes, err = unitsOf(f.units); err != nil {
		return err
	}
	if p.sort, err = parseSort(f.sort); err != nil {
		return err
	}
	if p.keep, err = parseFilters(f.filters); err != nil {
		return err
	}
	if p.by, err = parseBy(f.by); err != nil {
		return err
	}
	if p.format, err = parseFormat(f.format); err != nil {
		return err
	}
	if f.format == "json" {
		p.json, p.format = true, nil
	}
	switch {
	case cmd.Flags().Changed("top"):
		return f.printTop(cmd, args, f.top, f.json, p.bytes)
	case p.json && (f.quiet || p.format != nil), f.quiet && p.format != nil, p.by != nil && (f.quiet || p.format != nil):
		return usagef("--json, --format, --quiet and --by say how to print: give one of them")
	case cmd.Flags().Changed("watch") && f.watch < time.Second:
		return usagef("--watch %s: say a second or more", f.watch)
	case f.watch == 0:
		return p.list(cmd.Context())
	}
	return p.watch(cmd.Context(), f.watch)
}

// lister prints the list of ps.
type lister struct {
	out, errs io.Writer
	terminal  io.Writer // has the status line
	root      string
	rule      node.Rule
	names     []string // of containers; none: all
	own       bool     // the caller's alone

	keep                      func(stores.Container) bool
	sort                      func(a, b node.Measured) int
	by                        *grouping
	format                    *format // nil: a table
	bytes                     func(int64) string
	json, quiet, whole, total bool
}

func (p *lister) watch(ctx context.Context, every time.Duration) error {
	out, isFile := p.out.(*os.File)
	clear := isFile && !p.json && term.IsTerminal(int(out.Fd()))
	for {
		page := *p
		var list, errs strings.Builder // so that they come at once, and stay
		page.out, page.errs = &list, &errs
		err := page.list(ctx)
		if ctx.Err() != nil {
			return nil // that is how it ends
		}
		if err != nil {
			return err
		}
		if clear {
			fmt.Fprint(p.out, "\x1b[H\x1b[2J")
		}
		if _, err := fmt.Fprint(p.out, list.String()); err != nil {
			return err
		}
		fmt.Fprint(p.errs, errs.String())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

func (p *lister) list(ctx context.Context) error {
	listed := node.Bounds{OwnOnly: p.own}.List(ctx, p.root)
	if err := ctx.Err(); err != nil {
		return err
	}
	list, err := p.chosen(listed.Containers)
	if err != nil {
		return err
	}
	status := newStatus(p.terminal, "measuring containers")
	defer status.done()
	status.of(len(list))
	found, err := node.Measure(ctx, list, node.Options{Rule: p.rule, CopyUps: true, Done: func(node.Measured) { status.count() }})
	status.done()
	if err != nil {
		return err
	}
	node.SortBySize(found)
	slices.SortStableFunc(found, p.sort)
	if err := p.print(found); err != nil {
		return err
	}
	for _, err := range listed.Errs {
		fmt.Fprintf(p.errs, "overlaydiff: %s\n", oneLine(message(err)))
	}
	return nil
}

// chosen returns the containers that names and filters leave.
func (p *lister) chosen(all []stores.Container) ([]stores.Container, error) {
	list := all
	if len(p.names) > 0 {
		list = nil
		for _, name := range p.names {
			c, err := stores.Choose(all, name)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(list, func(l stores.Container) bool {
				return l.Runtime == c.Runtime && l.Owner == c.Owner && l.Namespace == c.Namespace && l.ID == c.ID
			}) {
				list = append(list, c)
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(c stores.Container) bool { return !p.keep(c) }), nil
}

func (p *lister) print(found []node.Measured) error {
	var err error
	switch {
	case p.by != nil:
		return p.sums(found)
	case p.json:
		for _, m := range found {
			if err := writeJSON(p.out, measuredJSON(m)); err != nil {
				return err
			}
		}
	case p.quiet:
		for _, m := range found {
			if _, err := fmt.Fprintln(p.out, p.id(m)); err != nil {
				return err
			}
		}
	case p.format != nil:
		err = p.format.print(p.out, p.rows(found))
	default:
		err = p.table(found)
	}
	if err == nil && p.total && p.json {
		err = writeJSON(p.out, sumOf("", "", found))
	}
	return err
}
