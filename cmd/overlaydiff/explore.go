package main

import (
	"context"
	"os"
	"strings"

	"github.com/gdamore/tcell/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/explore"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/diff"
)

func exploreCommand() *cobra.Command {
	var f stackFlags
	cmd := &cobra.Command{
		Use:   "explore [flags] STACK",
		Short: "Browse the changes on a full screen",
		Long: `explore shows the changes as a tree on a full screen, with the sizes of all changes
added up, and with waste: files that were copied up and not modified, and deleted
files that the layers below still hold. For a file, it shows the old and the new
version side by side, and why it is a change. The key ? lists all keys.

Files are compared by size and time, unless --content says otherwise. The contents
of the selected file are always compared.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.json {
				return usagef("explore is for people: changes --json has it for programs")
			}
			if !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stdout.Fd())) || os.Getenv("TERM") == "dumb" {
				return usagef("explore needs a terminal that can do more than print: changes --tree shows the same without")
			}
			if !cmd.Flags().Changed("content") {
				f.content = string(diff.ContentNever)
			}
			f.kinds = true
			f.unreadable = new(unreadables).add // the screen has how many there are
			list, err := f.open(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer list.Close()
			f.kinds, f.content = false, string(diff.ContentAuto)
			one, err := f.open(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer one.Close()
			screen, err := tcell.NewScreen()
			if err != nil {
				return usagef("open the screen: %w: set TERM to what the terminal is, or use changes --tree", err)
			}
			if err := explore.Run(cmd.Context(), screen, source(f.title(args), list, one), os.Getenv("NO_COLOR") != ""); err != nil {
				return err
			}
			return cmd.Context().Err()
		},
	}
	f.register(cmd)
	return cmd
}

// title names what is looked at.
func (f *stackFlags) title(args []string) string {
	switch {
	case len(args) > 0:
		return diff.QuotePath(args[0])
	case f.oldDir != "":
		return diff.QuotePath(f.oldDir) + " → " + diff.QuotePath(f.newDir)
	case f.upper != "":
		return diff.QuotePath(f.upper)
	}
	return diff.QuotePath(f.options)
}

// source is what explore shows: list has the changes, one tells more of one path.
func source(name string, list, one *overlaydiff.Diff) explore.Source {
	return explore.Source{
		Name:   name,
		Engine: list.Engine,
		Survey: func(ctx context.Context, found func(int)) (*survey.Tree, error) {
			return survey.Build(ctx, list, survey.Options{Waste: true, Found: found})
		},
		Explain: func(ctx context.Context, path string) (string, error) {
			x, err := one.Explain(ctx, path)
			if err != nil {
				return "", err
			}
			var b strings.Builder
			r := told(x, one)
			err = r.print(&b, r.layerRows()) // in what it differs is shown beside
			return b.String(), err
		},
		Look: one.Look,
	}
}
