package main

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

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
	asMarkdown(root)
	root.DisableAutoGenTag = true // no day in the text; the head has SOURCE_DATE_EPOCH, if that is set
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
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	files["man/man1/"+name+".1"] = func(w io.Writer) error {
		return doc.GenMan(cmd, &doc.GenManHeader{Section: "1", Source: "overlaydiff", Manual: "overlaydiff"}, w)
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			addPages(sub, files)
		}
	}
}

// plain keeps Markdown from seeing anything in a text.
var plain = strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "<", `\<`, "`", "\\`")

// asMarkdown makes the help of a command and of those below it what the library
// takes it for: Markdown, where indented lines need four blanks to stay as they are,
// and an empty line before.
func asMarkdown(cmd *cobra.Command) {
	var b strings.Builder
	indented := false
	for line := range strings.Lines(cmd.Long) {
		was := indented
		indented = strings.HasPrefix(line, "  ")
		if indented && !was && b.Len() > 0 {
			b.WriteString("\n")
		}
		if indented {
			b.WriteString("    " + line)
		} else {
			b.WriteString(plain.Replace(line))
		}
	}
	cmd.Long = b.String()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		_, f.Usage = pflag.UnquoteUsage(f) // the name of the value stays as a word
		f.Usage = plain.Replace(f.Usage)
	})
	for _, sub := range cmd.Commands() {
		asMarkdown(sub)
	}
}
