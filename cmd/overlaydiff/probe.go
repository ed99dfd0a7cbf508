package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// probeReport is what probe found. Its JSON is documented in docs/probe.md.
type probeReport struct {
	features.Site
	Native   nativeReport      `json:"native_diff"`
	Features []features.Result `json:"features"`
}

type nativeReport struct {
	features.Native
	Error string `json:"error,omitempty"` // why it can't be told
}

func probeCommand() *cobra.Command {
	var asJSON bool
	var options, explain string
	cmd := &cobra.Command{
		Use:   "probe [flags] [DIR]",
		Short: "Report what this kernel and the file system of DIR support",
		Long: `probe finds out what the kernel and the file system of DIR support for overlays with
upper directories in DIR, or in the current directory. It mounts some overlays in a
scratch directory there. Nobody else sees the mounts, and nothing is left behind. Each
answer is yes, no or "?" (cannot tell), with the kernel's response and the consequence.

The first answer is whether upper directories there can be read natively, with the
mount options in --options.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("name one directory only, not %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("explain") {
				if asJSON || options != "" || len(args) > 0 {
					return usagef("--explain probes nothing: leave DIR, --options and --json out")
				}
				return explainProbe(cmd.OutOrStdout(), explain)
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			r, err := probe(cmd.Context(), dir, options)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, r)
			}
			return r.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&options, "options", "", "mount `OPTIONS` of the overlays there, without the layers")
	cmd.Flags().StringVar(&explain, "explain", "", "only say what the answer `NAME` means and how it is found; all: of each")
	cmd.Flags().BoolVar(&asJSON, "json", false, "machine-readable output")
	return cmd
}

func probe(ctx context.Context, dir, options string) (r probeReport, err error) {
	parsed, err := mountutil.ParseOptions(options)
	switch {
	case err != nil:
		return r, err
	case len(parsed.Lower) > 0 || parsed.Upper != "" || parsed.Work != "":
		return r, usagef("--options %q: leave the layers out (lowerdir, upperdir, workdir): only what else overlays there are mounted with counts", options)
	}
	if r.Site, err = features.Where(dir); err != nil {
		return r, err
	}
	var p features.Prober
	if r.Features, err = p.Ask(ctx, dir); err != nil {
		return r, err
	}
	native, err := p.NativeDiff(ctx, dir, options)
	if err != nil {
		if native.Compat == nil { // the question made no sense
			return r, err
		}
		r.Native.Error = oneLine(message(err))
	}
	r.Native.Native = native
	if native.Reasons == nil {
		r.Native.Reasons = []features.Reason{} // an array in JSON, even if it is empty
	}
	return r, ctx.Err()
}

// print writes the report for people.
func (r probeReport) print(out io.Writer) error {
	w := &wrapper{w: out, width: textWidth(out)}
	w.line("", "%s on %s, Linux %s, %s", diff.QuotePath(r.Directory), r.FileSystem, r.Kernel, r.who())
	w.line("", "")
	r.printNative(w)
	reason := ""
	for i, f := range r.Features {
		first := i == 0 || f.Group != r.Features[i-1].Group
		if first {
			w.line("", "")
			w.line("", "%s", f.Group)
		}
		if f.Lacks == "" {
			printFeature(w, f, reason)
			reason = f.Reason
		}
		if last := i == len(r.Features)-1 || f.Group != r.Features[i+1].Group; last {
			printLacking(w, r.Features, f.Group)
		}
	}
	return w.err
}

// printFeature writes one answer; before is the reason of the one before it.
func printFeature(w *wrapper, f features.Result, before string) {
	const column = "                                "
	asks := f.Asks
	if f.Answer == features.Yes && f.Reason != "" {
		asks += ": " + f.Reason
	}
	w.line(column, "  %-4s%-26s%s", sign(f.Answer), f.Name, asks)
	switch {
	case f.Answer == features.Yes:
	case f.Reason == before:
		w.line(column, "%sfor the same reason", column)
	default:
		w.line(column, "%s%s", column, oneLine(f.Reason))
	}
	if f.Follows != "" {
		w.line(column+"   ", "%s-> %s", column, f.Follows)
	}
}

func sign(a features.Answer) string {
	if a == features.Unknown {
		return "?"
	}
	return a.String()
}

// printLacking lists the questions of a group whose answer is that of another.
func printLacking(w *wrapper, all []features.Result, group string) {
	for _, cause := range all {
		var names []string
		for _, f := range all {
			if f.Group == group && f.Lacks == cause.Name {
				names = append(names, f.Name)
			}
		}
		if len(names) > 0 {
			w.line("      ", "  %-4sfor lack of %s: %s", sign(cause.Answer), cause.Name, strings.Join(names, ", "))
		}
	}
}

func (r probeReport) who() string {
	who := fmt.Sprintf("user id %d", r.UID)
	if r.UID == 0 {
		who = "root"
	}
	if !r.InitialUserns {
		return who + " in a user namespace"
	}
	if r.UID == 0 && !r.Trusted {
		return who + " without CAP_SYS_ADMIN"
	}
	return who
}

func (r probeReport) printNative(w *wrapper) {
	const indent = "  "
	switch {
	case r.Native.Error != "":
		w.line(indent, "native diff: cannot tell. %s", r.Native.Error)
	case r.Native.OK:
		w.line(indent, "native diff: yes")
	default:
		w.line(indent, "native diff: no")
	}
	for _, reason := range r.Native.Reasons {
		w.line(indent+"  ", "  %s: %s", reason.Code, reason.Text)
	}
	for _, v := range r.Native.Compat {
		if v.Native {
			w.line(indent+"  ", "  %s: native", v.Tool)
		} else {
			w.line(indent+"  ", "  %s: naive, %s", v.Tool, oneLine(v.Reason))
		}
	}
}

// explainProbe says what is known of a question before it is asked.
func explainProbe(out io.Writer, name string) error {
	names := []string{name}
	if name == "all" {
		names = features.Names()
	}
	w := &wrapper{w: out, width: textWidth(out)}
	for i, name := range names {
		about, ok := features.Explain(name)
		if !ok {
			return usagef("--explain %q: there is no such answer; overlaydiff probe --explain all has each", name)
		}
		if i > 0 {
			w.line("", "")
		}
		w.line("", "%s (%s)", about.Name, about.Group)
		const indent = "          "
		w.line(indent, "  yes     %s", about.Asks)
		w.line(indent, "  no      %s", about.Follows)
		w.line(indent, "  how     %s", about.How)
		if about.Since != "" {
			w.line(indent, "  since   Linux %s", about.Since)
		}
		if about.Source != "" {
			w.line(indent, "  source  %s", about.Source)
		}
	}
	return w.err
}

// wrapper writes lines of words, broken at a width. The first error stays.
type wrapper struct {
	w     io.Writer
	width int
	err   error
}

// textWidth is how long lines for people may be.
func textWidth(out io.Writer) int {
	const usual, least = 100, 60
	if f, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return max(min(width, 120), least)
		}
	}
	return usual
}

// line writes one line, broken between words; what is broken off is indented.
func (w *wrapper) line(indent, format string, args ...any) {
	rest := []rune(fmt.Sprintf(format, args...))
	for first := true; w.err == nil; first = false {
		if !first {
			rest = append([]rune(indent), rest...)
		}
		if len(rest) <= w.width {
			_, w.err = fmt.Fprintln(w.w, strings.TrimRight(string(rest), " "))
			return
		}
		cut := lastBlank(rest[:w.width+1])
		if cut <= len([]rune(indent)) {
			cut = w.width
		}
		_, w.err = fmt.Fprintln(w.w, strings.TrimRight(string(rest[:cut]), " "))
		rest = []rune(strings.TrimLeft(string(rest[cut:]), " "))
	}
}

func lastBlank(line []rune) int {
	for i := len(line) - 1; i > 0; i-- {
		if line[i] == ' ' {
			return i
		}
	}
	return 0
}
