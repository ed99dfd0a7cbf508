package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/node"
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

func psCommand() *cobra.Command {
	var f nodeFlags
	var asJSON bool
	var watch time.Duration
	var top int
	cmd := &cobra.Command{
		Use:   "ps [flags] [--top N STACK]",
		Short: "Every container and overlay of this machine, the biggest first",
		Long: `ps lists the containers of Docker, containerd (Kubernetes, nerdctl), Podman,
Buildah, CRI-O and iSulad, running or not, and what other overlays are mounted.
It reads how they keep them on disk and asks no daemon.

  OWNER    whose store has it: what a user's store says is that user's word
  SIZE     what the writable layer holds (SizeRw)
  ROOTFS   that and the layers of the image (SizeRootFs)
  INODES   how many the writable layer has, directories included
  SAVABLE  files in it that have the content of the image's: they were copied
           up to change their metadata, or nothing. By size and time; not read

With --top, it lists the biggest files and directories of one writable layer.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			rule, err := f.rule()
			switch {
			case err != nil:
				return err
			case cmd.Flags().Changed("top"):
				return f.printTop(cmd, args, top, asJSON)
			case len(args) > 0:
				return usagef("unknown argument %s: ps lists all containers; --top N %[1]s looks into one", diff.QuotePath(args[0]))
			case cmd.Flags().Changed("watch") && watch < time.Second:
				return usagef("--watch %s: say a second or more", watch)
			}
			p := lister{out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), terminal: cmd.ErrOrStderr(), root: f.root, rule: rule, json: asJSON}
			if watch == 0 {
				return p.list(cmd.Context())
			}
			return p.watch(cmd.Context(), watch)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a container")
	cmd.Flags().DurationVar(&watch, "watch", 0, "list anew each `INTERVAL` (5s, 1m) until interrupted")
	cmd.Flags().IntVar(&top, "top", 0, "list the `N` biggest files and directories of one STACK")
	return cmd
}

// lister prints the list of ps.
type lister struct {
	out, errs io.Writer
	terminal  io.Writer // has the status line
	root      string
	rule      node.Rule
	json      bool
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
	list, errs := node.List(ctx, p.root)
	if err := ctx.Err(); err != nil {
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
	if p.json {
		for _, m := range found {
			if err := writeJSON(p.out, measuredJSON(m)); err != nil {
				return err
			}
		}
	} else if err := p.table(found); err != nil {
		return err
	}
	for _, err := range errs {
		fmt.Fprintf(p.errs, "overlaydiff: %s\n", oneLine(message(err)))
	}
	return nil
}

func (p *lister) table(found []node.Measured) error {
	if len(found) == 0 {
		fmt.Fprintln(p.errs, "overlaydiff: no containers and no overlays were found; run as root to see those of others")
		return nil
	}
	rows := [][]string{{"CONTAINER", "RUNTIME", "OWNER", "STATE", "SIZE", "ROOTFS", "INODES", "SAVABLE", "IMAGE", "NAME"}}
	for _, m := range found {
		rows = append(rows, []string{
			shortID(m.ID), string(m.Runtime), cell(m.Owner.String(), 20), cell(string(m.State), 12),
			known(m.Err, m.SizeRw, human.Bytes), known(errors.Join(m.Err, m.RootFsErr), m.SizeRootFs, human.Bytes),
			known(m.Err, m.Usage.Inodes, human.Count), known(errors.Join(m.Err, m.CopyUpsErr), m.CopyUps.Bytes(), human.Bytes),
			cell(shortImage(m.Image), 40), cell(m.Name, 1000), // last, since a name of one's own is needed whole
		})
	}
	rightAlign(rows, 4, 5, 6, 7)
	if err := printTable(p.out, rows); err != nil {
		return err
	}
	for _, m := range found {
		for _, reason := range []error{m.Err, m.RootFsErr} {
			if reason != nil {
				fmt.Fprintf(p.errs, "overlaydiff: %s %s: %s\n", runtimeOf(m), cell(m.Name, 1000), oneLine(reason.Error()))
			}
		}
	}
	return nil
}

// runtimeOf says what made a container, and whose it is if not root's.
func runtimeOf(m node.Measured) string {
	if m.Owner.UID == 0 {
		return string(m.Runtime)
	}
	return string(m.Runtime) + "@" + cell(m.Owner.String(), 40)
}

func known(err error, n int64, show func(int64) string) string {
	if err != nil {
		return "-"
	}
	return show(n)
}

// cell is a word of a table, quoted if need be, of most characters at most.
func cell(s string, most int) string {
	if s == "" {
		return "-"
	}
	s = oneLine(diff.QuotePath(s))
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// shortID is how all tools show ids of 64 digits. A name is not cut there.
func shortID(id string) string {
	if len(id) == 64 && strings.Trim(id, "0123456789abcdef") == "" {
		return id[:12]
	}
	if strings.HasPrefix(id, "/") || strings.HasPrefix(id, "pid:") {
		return "-"
	}
	return cell(id, 24)
}

func shortImage(image string) string {
	if digits, ok := strings.CutPrefix(image, "sha256:"); ok {
		return shortID(digits)
	}
	if strings.Trim(image, "0123456789abcdef") == "" && len(image) == 64 {
		return image[:12]
	}
	return strings.TrimPrefix(strings.TrimPrefix(image, "docker.io/"), "library/")
}

// psJSON is a line of ps --json.
type psJSON struct {
	Runtime    string        `json:"runtime"`
	Owner      string        `json:"owner"`
	Namespace  string        `json:"namespace,omitempty"`
	ID         string        `json:"id"`
	Name       string        `json:"name"`
	Names      []string      `json:"names,omitempty"`
	Image      string        `json:"image"`
	ImageID    string        `json:"image_id,omitempty"`
	State      string        `json:"state"`
	PID        int           `json:"pid,omitempty"`
	Upper      string        `json:"upper,omitempty"`
	SizeRw     *int64        `json:"size_rw"`
	SizeRootFs *int64        `json:"size_root_fs"`
	Usage      *diff.Usage   `json:"usage"`
	CopyUps    *diff.CopyUps `json:"copy_ups"`
	Error      string        `json:"error,omitempty"`
}

func measuredJSON(m node.Measured) psJSON {
	line := psJSON{
		Runtime: string(m.Runtime), Owner: m.Owner.String(), Namespace: m.Namespace, ID: m.ID, Name: m.Name, Names: m.Names,
		Image: m.Image, ImageID: m.ImageID, State: string(m.State), PID: m.PID, Upper: m.Stack.Upper,
	}
	if m.Err == nil {
		line.SizeRw, line.Usage = &m.SizeRw, &m.Usage
		if m.RootFsErr == nil {
			line.SizeRootFs = &m.SizeRootFs
		}
		if m.CopyUpsErr == nil {
			line.CopyUps = &m.CopyUps
		}
	}
	var said []string
	for _, err := range []error{m.Err, m.RootFsErr, m.CopyUpsErr} {
		if err != nil && (len(said) == 0 || said[len(said)-1] != message(err)) {
			said = append(said, message(err))
		}
	}
	line.Error = strings.Join(said, "; ")
	return line
}

// printTop lists what is biggest in one upper directory.
func (f *nodeFlags) printTop(cmd *cobra.Command, args []string, n int, asJSON bool) error {
	if n <= 0 {
		return usagef("--top %d: say how many files and directories, 1 or more", n)
	}
	s := stackFlags{engine: "auto", content: "auto", root: f.root}
	if err := s.check(args); err != nil {
		return err
	}
	stack, err := s.stack(cmd.Context(), args)
	if err != nil {
		return err
	}
	status := newStatus(cmd.ErrOrStderr(), "measuring")
	files, dirs, err := node.Top(cmd.Context(), stack, n)
	status.done()
	if err != nil {
		return err
	}
	rows := [][]string{{"SIZE", "ON DISK", "INODES", "PATH"}}
	for _, list := range [][]diff.Held{dirs, files} {
		for _, h := range list {
			if asJSON {
				err := printJSON(cmd, topJSON{h.Path, h.Dir, h.Bytes, h.DiskBytes, h.Inodes})
				if err != nil {
					return err
				}
			}
			path := diff.QuotePath(h.Path)
			if h.Dir && h.Path != "/" {
				path += "/"
			}
			rows = append(rows, []string{human.Bytes(h.Bytes), human.Bytes(h.DiskBytes), human.Count(h.Inodes), path})
		}
	}
	if asJSON {
		return nil
	}
	rightAlign(rows, 0, 1, 2)
	return printTable(cmd.OutOrStdout(), rows)
}

type topJSON struct {
	Path      string `json:"path"`
	Dir       bool   `json:"dir"`
	Bytes     int64  `json:"bytes"`
	DiskBytes int64  `json:"disk_bytes"`
	Inodes    int64  `json:"inodes"`
}
