package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Cobra's own writer goes through Markdown, whose parser costs every command a millisecond to
// start, and has to be kept from seeing any in the help.

func hasPage(cmd *cobra.Command) bool {
	return cmd.IsAvailableCommand() && !cmd.IsAdditionalHelpTopicCommand()
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manPage returns the man page of a command, in the macros of man(7). Its date is
// SOURCE_DATE_EPOCH, or today.
func manPage(cmd *cobra.Command) string {
	var b strings.Builder
	name := pageName(cmd)
	fmt.Fprintf(&b, ".TH %q 1 %q overlaydiff \"User Commands\"\n", strings.ToUpper(name), pageDate().Format("2 Jan 2006"))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(cmd.UseLine()))
	b.WriteString(".SH DESCRIPTION\n")
	paragraphs(&b, cmd.Long)
	if cmd.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.EX\n%s\n.EE\n", roff(cmd.Example))
	}
	cmd.InitDefaultHelpFlag()
	flagList(&b, "OPTIONS", cmd.NonInheritedFlags())
	flagList(&b, "OPTIONS OF ALL COMMANDS", cmd.InheritedFlags())
	var others []string
	if cmd.HasParent() {
		others = append(others, pageName(cmd.Parent()))
	}
	for _, sub := range cmd.Commands() {
		if hasPage(sub) {
			others = append(others, pageName(sub))
		}
	}
	if len(others) > 0 {
		fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s (1)\n", strings.Join(mapped(others, roff), " (1),\n.BR "))
	}
	return b.String()
}

func mapped(list []string, f func(string) string) (out []string) {
	for _, s := range list {
		out = append(out, f(s))
	}
	return out
}

func pageDate() time.Time {
	if seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC()
	}
	return time.Now()
}

// paragraphs writes a text: lines that are indented as they are, others filled.
func paragraphs(b *strings.Builder, text string) {
	literal, blank := false, false
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if line == "" {
			blank = true
			continue
		}
		indented := strings.HasPrefix(line, "  ")
		switch {
		case indented && !literal:
			b.WriteString(".PP\n.EX\n")
		case indented && blank:
			b.WriteString("\n")
		case !indented && literal:
			b.WriteString(".EE\n.PP\n")
		case blank:
			b.WriteString(".PP\n")
		}
		literal, blank = indented, false
		b.WriteString(roff(line) + "\n")
	}
	if literal {
		b.WriteString(".EE\n")
	}
}

// flagList writes a section of flags, each with the name of its value, and its default if that
// says something.
func flagList(b *strings.Builder, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	b.WriteString(".SH " + title + "\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		b.WriteString(".TP\n")
		if f.Shorthand != "" {
			b.WriteString(`\fB\-` + f.Shorthand + `\fP, `)
		}
		b.WriteString(`\fB` + roff("--"+f.Name) + `\fP`)
		if value != "" {
			b.WriteString(` \fI` + roff(value) + `\fP`)
		}
		b.WriteString("\n" + roff(usage))
		switch f.DefValue {
		case "", "0", "false", "[]", "0s":
		default:
			b.WriteString(" (default " + roff(f.DefValue) + ")")
		}
		b.WriteString("\n")
	})
}

// roff escapes a text: a backslash, a hyphen that is to be copied, and what begins a line as a
// macro does.
func roff(text string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
