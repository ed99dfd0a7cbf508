package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/report"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/wholefile"
)

func reportCommand() *cobra.Command {
	var f stackFlags
	var output string
	cmd := &cobra.Command{
		Use:   "report [flags] -o FILE STACK…",
		Short: "Write an HTML page: where the bytes are, what is wasted",
		Long: `report writes an HTML page about an overlay: a map of added and changed files by
size, the biggest files, waste (files copied up and not modified, deleted files that
the layers below still hold), and the chain of layers. For two overlays, the page
also shows what they have in common and where they differ most.

The page is one file that needs no network. It gets its name only when it is complete.
Files are compared by size and time, unless --content says otherwise.`,
		Example: `  overlaydiff report -o web.html web
  overlaydiff report -o both.html web web-old`,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, isFile := cmd.OutOrStdout().(*os.File)
			switch {
			case f.json:
				return usagef("report is for people: changes --json has it for programs")
			case cmp.Or(output, "-") == "-" && isFile && term.IsTerminal(int(out.Fd())):
				return usagef("a page of HTML is nothing for a terminal: name a file (-o FILE), or redirect standard output")
			}
			if !cmd.Flags().Changed("content") {
				f.content = string(diff.ContentNever)
			}
			f.kinds = true
			stacks := [][]string{args}
			if len(args) > 1 {
				stacks = nil
				for _, arg := range args {
					stacks = append(stacks, []string{arg})
				}
			}
			var missing unreadables
			f.unreadable = missing.add
			var overlays []report.Overlay
			for _, stack := range stacks {
				o, err := f.reported(cmd, stack)
				if err != nil {
					return err
				}
				overlays = append(overlays, o)
			}
			write := func(w io.Writer) error { return report.Write(w, time.Now(), overlays...) }
			var err error
			if cmp.Or(output, "-") == "-" {
				err = write(cmd.OutOrStdout())
			} else {
				err = wholefile.Write(output, write)
			}
			return cmp.Or(err, missing.err())
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVarP(&output, "output", "o", "", "`FILE`; - for standard output")
	f.register(cmd)
	return cmd
}

// reported reads all that the page has of one overlay.
func (f *stackFlags) reported(cmd *cobra.Command, args []string) (o report.Overlay, err error) {
	ctx := cmd.Context()
	d, err := f.open(ctx, args)
	if err != nil {
		return o, err
	}
	defer d.Close()
	o = report.Overlay{Name: f.title(args), Engine: d.Engine(), Reason: d.Reason(), Guessed: f.content == string(diff.ContentNever)}
	if o.Tree, err = surveyed(ctx, cmd.ErrOrStderr(), d, survey.Options{Waste: true}); err != nil {
		return o, err
	}
	if f.oldDir == "" {
		status := newStatus(cmd.ErrOrStderr(), "measuring layers")
		defer status.done()
		err = f.measured(ctx, args, &o)
	}
	return o, err
}

// measured adds the sizes of the upper directory and of the layers.
func (f *stackFlags) measured(ctx context.Context, args []string, o *report.Overlay) error {
	s, err := f.stack(ctx, args)
	if err != nil {
		return err
	}
	u, err := overlaydiff.Usage(ctx, s, f.diffOptions())
	if err != nil {
		return err
	}
	o.Usage = &u
	layers, stack, err := f.layers(ctx, args)
	if err != nil {
		return err
	}
	if err := measureLayers(ctx, layers, stack); err != nil {
		return err
	}
	for _, l := range layers {
		o.Layers = append(o.Layers, report.Layer{Kind: l.Kind, Name: cmp.Or(l.ID, l.CacheID, l.SnapshotKey, l.Dir), Size: l.Size})
	}
	return nil
}
