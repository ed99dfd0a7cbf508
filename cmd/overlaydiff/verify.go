package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
)

func verifyCommand() *cobra.Command {
	var f stackFlags
	var file, temp, xattrs string
	var skipReserved, skipUnmapped bool
	cmd := &cobra.Command{
		Use:   "verify [flags] STACK",
		Short: "Prove that a layer of the changes reproduces the new view",
		Long: `verify exports the changes as a layer, mounts the old view with a new upper
directory, applies the layer there, and compares the result with the new view:
contents, all metadata, extended attributes, hard links. With --layer, it applies a
layer that another program made of these changes.

What no layer can hold (a socket, an attribute removed from a directory that stays)
is named and does not count as a difference. Exit status: 0 equal, 3 different.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			opts := overlaydiff.VerifyOptions{TempDir: temp, Export: layer.ExportOptions{SkipReserved: skipReserved, SkipUnmapped: skipUnmapped, Xattrs: layer.Xattrs(xattrs)}}
			if err := checkXattrs(opts.Export.Xattrs); err != nil {
				return err
			}
			if file != "" {
				in, err := openInput(cmd, file)
				if err != nil {
					return err
				}
				defer in.Close()
				opts.Layer = in
			}
			d, err := f.open(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer d.Close()
			f.note(cmd, d)
			status := newStatus(cmd.ErrOrStderr(), "verifying")
			v, err := d.Verify(f.pausing.context(cmd), opts)
			status.done()
			err = f.pausing.end(err)
			if err != nil {
				return err
			}
			f.pausing.note(cmd, d)
			if err := f.printVerified(cmd, d, &v); err != nil {
				return err
			}
			if !v.Equal {
				return exitStatus(exitDiffers)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&file, "layer", "", "`FILE` of a layer made elsewhere; - for stdin")
	flags.StringVar(&temp, "tmp", "", "`DIR` to unpack in, with room, not on an overlay")
	flags.StringVar(&xattrs, "xattrs", string(layer.XattrsAll), "`WHICH` the layer carries: all, oci or none")
	flags.BoolVar(&skipReserved, "skip-reserved", false, "leave out names that begin with .wh.")
	flags.BoolVar(&skipUnmapped, "skip-unmapped", false, "leave out what has an owner without an id in the container")
	f.pausing.register(cmd)
	f.register(cmd)
	return cmd
}

func (f *stackFlags) printVerified(cmd *cobra.Command, d *overlaydiff.Diff, v *overlaydiff.Verified) error {
	if f.json {
		return printJSON(cmd, struct {
			*overlaydiff.Verified
			Engine string `json:"engine"`
			Reason string `json:"reason"`
			Raced  int64  `json:"raced"`
			proofJSON
			pauseJSON
		}{v, d.Engine(), d.Reason(), d.Raced(), proofOf(d), f.pausing.of(d)})
	}
	out := &sticky{w: cmd.OutOrStdout()}
	verdict := "equal: the layer gives the new view again"
	if !v.Equal {
		verdict = "different at " + human.Plural(v.Differ, "path", "paths")
	}
	fmt.Fprintln(out, verdict)
	lists := []struct {
		title string
		list  []overlaydiff.Difference
		more  int64
	}{
		{"", v.Differences, v.Differ - int64(len(v.Differences))},
		{"what layers can't say:", v.Inexpressible, 0},
	}
	for _, l := range lists {
		if len(l.list) == 0 {
			continue
		}
		rows := [][]string{}
		for _, difference := range l.list {
			rows = append(rows, []string{"  " + diff.QuotePath(difference.Path), strings.Join(difference.What, ", ")})
		}
		if l.title != "" {
			fmt.Fprintln(out, l.title)
		}
		if err := printTable(out, rows); err != nil {
			return err
		}
		if l.more > 0 {
			fmt.Fprintf(out, "  and %s more\n", human.Count(l.more))
		}
	}
	if err := printTable(out, [][]string{
		{"DiffID", v.Applied.DiffID.String()},
		{"entries", human.Count(v.Applied.Entries)},
		{"bytes of files", human.ExactBytes(v.Applied.Bytes)},
	}); err != nil {
		return err
	}
	if n := d.Raced(); n > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "overlaydiff: %s while they were read: what differs may be that; stop or freeze what writes there and try again\n",
			human.Plural(n, "entry vanished or changed", "entries vanished or changed"))
	}
	return nil
}

func checkXattrs(x layer.Xattrs) error {
	switch x {
	case layer.XattrsAll, layer.XattrsOCI, layer.XattrsNone:
		return nil
	}
	return usagef("--xattrs %q: say all, oci or none", string(x))
}

// openInput opens a file to read; - is standard input.
func openInput(cmd *cobra.Command, file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%w; name a layer that can be read, or - for standard input", err)
	}
	return f, nil
}
