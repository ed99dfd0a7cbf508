package main

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff/internal/paths"
	"github.com/overlaydiff/overlaydiff/internal/wholefile"
)

// manCommand writes the man pages and the shells' completions of all commands:
// for make install, and for who makes packages.
func manCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:    "man --to DIR",
		Short:  "Write man pages and shell completions",
		Hidden: true,
		Args:   noArgs,
		Long: `man writes below DIR, which is made if need be, what belongs below /usr/share:

  man/man1/overlaydiff*.1
  bash-completion/completions/overlaydiff
  zsh/site-functions/_overlaydiff
  fish/vendor_completions.d/overlaydiff.fish`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return usagef("say where to: --to DIR")
			}
			return writeShare(cmd.Root(), to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the `DIR`")
	return cmd
}

func writeShare(root *cobra.Command, to string) error {
	files := map[string]func(io.Writer) error{
		"bash-completion/completions/overlaydiff":    func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"zsh/site-functions/_overlaydiff":            root.GenZshCompletion,
		"fish/vendor_completions.d/overlaydiff.fish": func(w io.Writer) error { return root.GenFishCompletion(w, true) },
	}
	addPages(root, files)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(to, name)
		if err := paths.MakeOutputDir(filepath.Dir(file)); err != nil {
			return fmt.Errorf("mkdir %s: %w; name a directory that can be made", filepath.Dir(file), err)
		}
		if err := wholefile.Write(file, files[name]); err != nil {
			return err
		}
	}
	return nil
}

// addPages adds the man pages of a command and of those below it.
func addPages(cmd *cobra.Command, files map[string]func(io.Writer) error) {
	files["man/man1/"+pageName(cmd)+".1"] = func(w io.Writer) error {
		_, err := io.WriteString(w, manPage(cmd))
		return err
	}
	for _, sub := range cmd.Commands() {
		if hasPage(sub) {
			addPages(sub, files)
		}
	}
}
