package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

func changesCommand() *cobra.Command {
	var f stackFlags
	var compat string
	var tree, stat bool
	var depth int
	cmd := &cobra.Command{
		Use:   "changes [flags] STACK",
		Short: "List what was added (A), changed (C) and deleted (D)",
		Long: `changes lists what the upper layer changes, one path per line, in path order:
A added, C changed, D deleted. A deleted tree is one line. A path with bytes that
can't be printed is a quoted Go string. With --json, each line is

  {"kind":"add|modify|delete","path":"/a","type":"file","what":["content",…],"size":N}

and has "path_bytes" (base64) if the path is not UTF-8.

A path at which the overlay returns an error (EIO, ESTALE, ELOOP) is listed as E,
with --json as {"kind":"unreadable","path":"/a","error":"…"}. The list continues
after it, and the exit status is 1. With --strict, the first such path ends the list.

With --compat docker, the directories above each change are listed as changed,
as docker diff lists them.

With --tree, the changes are drawn as a tree. In front of each entry is what it adds
to the layer; in front of a directory, the sum. With --stat, each has a bar, and a
tree that was added is one line.`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			switch {
			case compat != "" && compat != "docker":
				return usagef("--compat %s: changes can be listed as docker does, or without it", diff.QuotePath(compat))
			case tree && stat, (tree || stat) && (f.json || compat != ""):
				return usagef("--tree, --stat, --json and --compat don't go together: each is another way to show the changes")
			case depth < 0 || depth > 0 && !tree:
				return usagef("--depth says how far down --tree goes: a number, 1 or more")
			}
			f.kinds = !f.json
			var missing unreadables
			f.unreadable = missing.add
			d, err := f.open(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer d.Close()
			defer func() { err = f.pausing.end(err) }()
			switch {
			case tree:
				return f.printSurvey(cmd, d, &missing, func(p *picture) error {
					p.depth = depth
					return p.tree()
				})
			case stat:
				return f.printSurvey(cmd, d, &missing, (*picture).stat)
			}
			changes := d.Changes(f.pausing.context(cmd))
			if compat != "" {
				changes = diff.WithParents(changes)
			}
			return f.printChanges(cmd, d, changes, &missing)
		},
	}
	f.register(cmd)
	f.pausing.register(cmd)
	cmd.Flags().StringVar(&compat, "compat", "", "list as `TOOL` does: docker")
	cmd.Flags().BoolVar(&tree, "tree", false, "draw a tree with sizes")
	cmd.Flags().IntVar(&depth, "depth", 0, "how many `LEVELS` of it; 0 is all")
	cmd.Flags().BoolVar(&stat, "stat", false, "sizes with bars, an added tree in one line")
	return cmd
}

func (f *stackFlags) printChanges(cmd *cobra.Command, d *overlaydiff.Diff, changes iter.Seq2[diff.Change, error], missing *unreadables) error {
	f.note(cmd, d)
	status := newStatus(cmd.ErrOrStderr(), "comparing")
	defer status.done()
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	print := func(line any) (err error) {
		if f.json {
			return lines.Encode(line)
		}
		_, err = fmt.Fprintln(out, line)
		return err
	}
	missing.show = func(u *diff.UnreadableError) error { return print(lineOf(u)) }
	for c, err := range changes {
		if err == nil {
			status.count()
			err = print(c)
		}
		if err != nil {
			return err
		}
	}
	if err := f.pausing.end(out.Flush()); err != nil {
		return err
	}
	status.done()
	f.pausing.note(cmd, d)
	noteRaced(cmd, d.Raced())
	return missing.err()
}

func noteRaced(cmd *cobra.Command, n int64) {
	if n > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "overlaydiff: %s while they were read; the list has what was seen of them\n",
			human.Plural(n, "entry vanished or changed", "entries vanished or changed"))
	}
}

// note says on standard error which engine answers, if that is not what one
// expects or if it was asked for: the answer itself has no place for it.
func (f *stackFlags) note(cmd *cobra.Command, d *overlaydiff.Diff) {
	fallback := overlaydiff.Choice(f.engine) == overlaydiff.Auto && d.Engine() != string(overlaydiff.Native) && f.oldDir == ""
	if f.verbose || fallback {
		fmt.Fprintf(cmd.ErrOrStderr(), "overlaydiff: %s engine: %s\n", d.Engine(), oneLine(d.Reason()))
	}
	proven, unproven := d.Proven()
	f.noteProof(cmd, proofJSON{&proven, unproven})
}

// noteProof says with -v whether the layers are the mounted ones.
func (f *stackFlags) noteProof(cmd *cobra.Command, p proofJSON) {
	switch {
	case !f.verbose:
	case *p.Proven:
		fmt.Fprintln(cmd.ErrOrStderr(), "overlaydiff: layers: each is proven to be the mounted one")
	case len(p.Unproven) > 0:
		fmt.Fprintf(cmd.ErrOrStderr(), "overlaydiff: layers: not proven to be mounted, since the mount shows nothing of them: %s\n", quoteAll(p.Unproven))
	}
}

func quoteAll(paths []string) string {
	quoted := make([]string, len(paths))
	for i, path := range paths {
		quoted[i] = diff.QuotePath(path)
	}
	return strings.Join(quoted, ", ")
}

// proofJSON is what an answer in JSON says of the layers of a mounted overlay.
type proofJSON struct {
	Proven   *bool    `json:"layers_proven,omitempty"` // nil: only directories were named
	Unproven []string `json:"unproven_layers,omitempty"`
}

func proofOf(d *overlaydiff.Diff) proofJSON {
	proven, unproven := d.Proven()
	if !proven && len(unproven) == 0 {
		return proofJSON{}
	}
	return proofJSON{&proven, unproven}
}

func sizeCommand() *cobra.Command {
	var f stackFlags
	cmd := &cobra.Command{
		Use:   "size [flags] STACK",
		Short: "Show the size of the changes as a layer would carry them (DiffSize)",
		Long: `size adds up the bytes of all files that were added or changed, as a layer would
carry them (DiffSize). Each inode counts once. Paths that can't be read are counted
as unreadable, without their bytes, and the exit status is 1. See usage for what the
upper directory takes on disk.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var missing unreadables
			f.unreadable = missing.add
			d, err := f.open(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer d.Close()
			status := newStatus(cmd.ErrOrStderr(), "comparing")
			n, err := d.Size(f.pausing.context(cmd))
			status.done()
			err = f.pausing.end(err)
			if err != nil {
				return err
			}
			f.pausing.note(cmd, d)
			if f.json {
				err = printJSON(cmd, struct {
					Bytes      int64  `json:"bytes"`
					Engine     string `json:"engine"`
					Reason     string `json:"reason"`
					Raced      int64  `json:"raced"`
					Unreadable int64  `json:"unreadable"`
					proofJSON
					pauseJSON
				}{n, d.Engine(), d.Reason(), d.Raced(), d.Unreadable(), proofOf(d), f.pausing.of(d)})
			} else {
				err = printTable(cmd.OutOrStdout(), [][]string{
					{"size", human.ExactBytes(n)},
					{"engine", d.Engine() + " (" + oneLine(d.Reason()) + ")"},
					{"raced", human.Count(d.Raced())},
					{"unreadable", human.Count(d.Unreadable())},
				})
			}
			return cmp.Or(err, missing.err())
		},
	}
	f.register(cmd)
	f.pausing.register(cmd)
	return cmd
}

func usageCommand() *cobra.Command {
	var f stackFlags
	var compat string
	cmd := &cobra.Command{
		Use:   "usage [flags] STACK",
		Short: "Show what the upper directory holds (SizeRw)",
		Long: `usage adds up what the upper directory holds: the bytes of its files (SizeRw, as
docker ps -s shows it), the bytes allocated on disk, inodes, whiteouts and opaque
directories. Each inode counts once. usage reads only the upper directory;
--upper DIR is enough to name it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			rule, err := ruleOf(compat)
			if err != nil {
				return err
			}
			s, err := f.stack(cmd.Context(), args)
			lower := (*mountutil.LayerError)(nil)
			if err != nil && (s.Upper == "" || !errors.As(err, &lower) && !errors.As(err, new(*mountutil.OwnersError))) {
				return err
			}
			if lower != nil && f.verbose { // of the layers below, nothing is asked
				fmt.Fprintf(cmd.ErrOrStderr(), "overlaydiff: %v\n", err)
			}
			if s.Upper == "" {
				return usagef("usage is about an upper directory, and there is none: name an overlay that has one, or --upper DIR (size compares any two trees)")
			}
			status := newStatus(cmd.ErrOrStderr(), "measuring")
			u, err := overlaydiff.Usage(cmd.Context(), s, f.diffOptions())
			status.done()
			if err != nil {
				return err
			}
			u.Bytes = rule.For(f.container).Rw(u)
			proof := proofJSON{}
			if s.Mountpoint != "" {
				proven := s.Proven() && lower == nil
				proof = proofJSON{&proven, s.Unproven}
				f.noteProof(cmd, proof)
			}
			if f.json {
				return printJSON(cmd, struct {
					diff.Usage
					proofJSON
				}{u, proof})
			}
			return printTable(cmd.OutOrStdout(), [][]string{
				{"size", human.ExactBytes(u.Bytes)},
				{"on disk", human.ExactBytes(u.DiskBytes)},
				{"inodes", human.Count(u.Inodes)},
				{"whiteouts", human.Count(u.Whiteouts)},
				{"opaque directories", human.Count(u.OpaqueDirs)},
				{"raced", human.Count(u.Raced)},
			})
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&compat, "compat", "", "the size as `TOOL` counts it: "+strings.Join(node.Tools(), ", "))
	return cmd
}

func printJSON(cmd *cobra.Command, v any) error { return writeJSON(cmd.OutOrStdout(), v) }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
