package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
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
	man := filepath.Join(to, "man/man1")
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	asMarkdown(root)
	root.DisableAutoGenTag = true // no day in the text; the head has SOURCE_DATE_EPOCH, if that is set
	header := doc.GenManHeader{Section: "1", Source: "overlaydiff", Manual: "overlaydiff"}
	if err := doc.GenManTree(root, &header, man); err != nil {
		return err
	}
	for name, write := range map[string]func(file string) error{
		"bash-completion/completions/overlaydiff":    func(file string) error { return root.GenBashCompletionFileV2(file, true) },
		"zsh/site-functions/_overlaydiff":            root.GenZshCompletionFile,
		"fish/vendor_completions.d/overlaydiff.fish": func(file string) error { return root.GenFishCompletionFile(file, true) },
	} {
		file := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := write(file); err != nil {
			return err
		}
	}
	return nil
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
