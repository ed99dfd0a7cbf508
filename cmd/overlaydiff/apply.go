package main

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
)

func applyCommand() *cobra.Command {
	var to, as, want, diffID, xattrs, whiteouts string
	var userxattr, skipDevices, keepMarks, asJSON bool
	var uids, gids []string
	cmd := &cobra.Command{
		Use:   "apply [flags] --to DIR [FILE]",
		Short: "Unpack a layer into a directory",
		Long: `apply unpacks a layer from FILE or standard input. The layer may be compressed with
gzip or zstd.

  --as plain     to a tree as programs see it: what the layer deletes is removed
  --as overlay   to a layer directory of overlayfs: what it deletes is marked

Nothing in the layer leads out of DIR. A new or empty DIR ends up with the whole layer
or nothing. A DIR with files is changed in place; after a failure, the same command
completes it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			opts := layer.ApplyOptions{
				Form: layer.Form(as), UserXattr: userxattr, Whiteouts: layer.WhiteoutAs(whiteouts), Digest: digest.Digest(want), DiffID: digest.Digest(diffID),
				Xattrs: layer.Xattrs(xattrs), SkipDevices: skipDevices, KeepMarks: keepMarks,
			}
			var err error
			if opts.UIDs, err = idMaps("--uid-map", uids); err != nil {
				return err
			}
			if opts.GIDs, err = idMaps("--gid-map", gids); err != nil {
				return err
			}
			if err := checkApply(cmd, to, opts, args); err != nil {
				return err
			}
			return runApply(cmd, to, opts, append(args, "-")[0], asJSON)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&to, "to", "", "`DIR`, made if it is missing")
	flags.StringVar(&as, "as", string(layer.Plain), "`FORM`: plain or overlay")
	flags.StringVar(&want, "digest", "", "`DIGEST` that the file must have, sha256:…")
	flags.StringVar(&diffID, "diff-id", "", "`DIGEST` that the archive in it must have")
	flags.StringVar(&xattrs, "xattrs", string(layer.XattrsAll), "`WHICH` to set: all, oci (capabilities) or none")
	flags.StringVar(&whiteouts, "whiteouts", "", "as overlay, `HOW`: device or xattr (Linux 6.7)")
	flags.BoolVar(&userxattr, "userxattr", false, "as overlay: marks are user.overlay.*")
	flags.BoolVar(&skipDevices, "skip-devices", false, "leave out devices")
	flags.BoolVar(&keepMarks, "keep-marks", false, "as plain: also set trusted.overlay.*; no layer then")
	flags.StringArrayVar(&uids, "uid-map", nil, "`RANGE` of user ids, CONTAINER:HOST:SIZE; repeatable")
	flags.StringArrayVar(&gids, "gid-map", nil, "`RANGE` of group ids")
	flags.BoolVar(&asJSON, "json", false, "machine-readable output")
	return cmd
}

// checkApply refuses what can't be meant.
func checkApply(cmd *cobra.Command, to string, o layer.ApplyOptions, args []string) error {
	if err := checkXattrs(o.Xattrs); err != nil {
		return err
	}
	for flag, d := range map[string]digest.Digest{"--digest": o.Digest, "--diff-id": o.DiffID} {
		if d != "" && d.Validate() != nil {
			return usagef("%s %s: a digest is an algorithm and hexadecimal digits, sha256:…", flag, strconv.Quote(string(d)))
		}
	}
	in, isFile := cmd.InOrStdin().(*os.File)
	switch {
	case to == "":
		return usagef("say where the layer goes: --to DIR")
	case o.Form != layer.Plain && o.Form != layer.Overlay:
		return usagef("--as %s: say plain or overlay", strconv.Quote(string(o.Form)))
	case o.Whiteouts != layer.AutoWhiteout && o.Whiteouts != layer.DeviceWhiteout && o.Whiteouts != layer.XattrWhiteout:
		return usagef("--whiteouts %s: say device or xattr", strconv.Quote(string(o.Whiteouts)))
	case o.Form == layer.Plain && (o.UserXattr || o.Whiteouts != layer.AutoWhiteout):
		return usagef("--userxattr and --whiteouts are about layer directories: add --as overlay")
	case len(args) > 1:
		return usagef("name one layer only, not %d", len(args))
	case len(args) == 0 && isFile && term.IsTerminal(int(in.Fd())):
		return usagef("name the file of the layer; standard input is a terminal")
	}
	return nil
}

func runApply(cmd *cobra.Command, to string, opts layer.ApplyOptions, file string, asJSON bool) error {
	in, err := openInput(cmd, file)
	if err != nil {
		return err
	}
	defer in.Close()
	status := newStatus(cmd.ErrOrStderr(), "applying")
	done, err := layer.Apply(cmd.Context(), status.reader(in), to, opts)
	status.done()
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd, done)
	}
	rows := [][]string{
		{"digest", done.Digest.String()},
		{"DiffID", done.DiffID.String()},
		{"compression", string(done.Compression)},
		{"entries", human.Count(done.Entries)},
		{"bytes of files", human.ExactBytes(done.Bytes)},
		{"whiteouts", human.Count(done.Whiteouts)},
	}
	if done.Skipped > 0 {
		var names []string
		for _, name := range slices.Sorted(maps.Keys(done.LeftOut)) {
			names = append(names, diff.QuotePath(name))
		}
		rows = append(rows, []string{"left out", human.Count(done.Skipped) + ": " + strings.Join(names, ", ")})
	}
	if done.Inexpressible > 0 {
		rows = append(rows, []string{"can't be said", human.Count(done.Inexpressible)})
	}
	return printTable(cmd.OutOrStdout(), rows)
}
