package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/wholefile"
	"github.com/overlaydiff/overlaydiff/layer"
)

// exportFlags are the flags that say how a layer is written.
type exportFlags struct {
	output       string
	compression  string
	level        int
	whiteouts    string
	xattrs       string
	skipReserved bool
	epoch        string
	skipUnmapped bool
	uids, gids   []string
}

func exportCommand() *cobra.Command {
	var f stackFlags
	var e exportFlags
	cmd := &cobra.Command{
		Use:   "export [flags] STACK",
		Short: "Write the changes as an OCI image layer",
		Long: `export writes the changes as a layer of an OCI image: a tar archive, with
whiteouts (.wh.name) for deletions. It writes to standard output, or to a file that
gets its name only when it is complete. The layer keeps hard links, sub-second times,
ACLs, capabilities and all other extended attributes. Equal changes give equal bytes
with either engine.

Owners are the container's ids if they are known, 0 for its root; --owners host
writes the host's ids. An owner without an id in the container is an error.

No time in the layer is later than --source-date-epoch or, without that flag, the
SOURCE_DATE_EPOCH of the environment. With -o, export prints digests and sizes on
standard output.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := e.options()
			if err != nil {
				return err
			}
			if err := e.checkOutput(cmd, f.json); err != nil {
				return err
			}
			d, err := f.open(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer d.Close()
			return e.export(cmd, &f, d, opts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&e.output, "output", "o", "", "`FILE`; - for standard output")
	flags.StringVar(&e.compression, "compression", string(layer.None), "`HOW`: none, gzip or zstd")
	flags.IntVar(&e.level, "level", 0, "`N`, as of gzip and zstd; 0 for their default")
	flags.StringVar(&e.whiteouts, "whiteouts", "explicit", "`HOW`: explicit, or opaque: mark directories")
	flags.StringVar(&e.xattrs, "xattrs", string(layer.XattrsAll), "`WHICH`: all, oci (capabilities) or none")
	flags.BoolVar(&e.skipReserved, "skip-reserved", false, "leave out names that begin with .wh.")
	flags.StringVar(&e.epoch, "source-date-epoch", "", "`N` seconds since 1970: the latest time in the layer")
	flags.BoolVar(&e.skipUnmapped, "skip-unmapped", false, "leave out what has an owner without an id in the container")
	flags.StringArrayVar(&e.uids, "uid-map", nil, "`RANGE` of user ids, CONTAINER:HOST:SIZE; repeatable")
	flags.StringArrayVar(&e.gids, "gid-map", nil, "`RANGE` of group ids")
	f.pausing.register(cmd)
	f.register(cmd)
	return cmd
}

// options returns what the flags say.
func (e *exportFlags) options() (o layer.ExportOptions, err error) {
	o = layer.ExportOptions{Level: e.level, SkipReserved: e.skipReserved, SkipUnmapped: e.skipUnmapped, Xattrs: layer.Xattrs(e.xattrs)}
	if o.Compression, err = layer.ParseCompression(e.compression); err != nil {
		return o, usagef("--compression: %w", err)
	}
	switch e.whiteouts {
	case "explicit":
	case "opaque":
		o.Opaque = true
	default:
		return o, usagef("--whiteouts %s: say explicit or opaque", strconv.Quote(e.whiteouts))
	}
	if err := checkXattrs(o.Xattrs); err != nil {
		return o, err
	}
	if o.UIDs, err = idMaps("--uid-map", e.uids); err != nil {
		return o, err
	}
	if o.GIDs, err = idMaps("--gid-map", e.gids); err != nil {
		return o, err
	}
	o.Latest, err = sourceDateEpoch(e.epoch)
	return o, err
}

// idMaps reads lines of id maps.
func idMaps(flag string, lines []string) (maps []layer.IDMap, err error) {
	for _, line := range lines {
		var n [3]uint32
		parts := strings.Split(line, ":")
		if len(parts) != len(n) {
			return nil, usagef("%s %s: say CONTAINER:HOST:SIZE", flag, strconv.Quote(line))
		}
		for i, part := range parts {
			id, err := strconv.ParseUint(part, 10, 32)
			if err != nil {
				return nil, usagef("%s %s: %s is no number of 32 bits", flag, strconv.Quote(line), strconv.Quote(part))
			}
			n[i] = uint32(id)
		}
		maps = append(maps, layer.IDMap{Container: n[0], Host: n[1], Size: n[2]})
	}
	return maps, nil
}

// sourceDateEpoch returns the time that nothing in the layer may be later than: the
// flag's or, without it, that of the variable that reproducible-builds.org specifies.
func sourceDateEpoch(value string) (time.Time, error) {
	name := "--source-date-epoch "
	if value == "" {
		name, value = "SOURCE_DATE_EPOCH=", os.Getenv("SOURCE_DATE_EPOCH")
	}
	if value == "" {
		return time.Time{}, nil
	}
	sec, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return time.Time{}, usagef("%s%s: it is seconds since 1970", name, strconv.Quote(value))
	}
	return time.Unix(sec, 0), nil
}

// checkOutput refuses what can't be meant.
func (e *exportFlags) checkOutput(cmd *cobra.Command, json bool) error {
	toFile := e.output != "" && e.output != "-"
	if toFile {
		return nil
	}
	if json {
		return usagef("--json says what was written to a file: name one (-o FILE), standard output has the layer")
	}
	if f, ok := cmd.OutOrStdout().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return usagef("a layer is nothing for a terminal: name a file (-o FILE), or redirect standard output")
	}
	return nil
}

// export writes the layer and says what it is.
func (e *exportFlags) export(cmd *cobra.Command, f *stackFlags, d *overlaydiff.Diff, opts layer.ExportOptions) (err error) {
	f.note(cmd, d)
	if f.verbose {
		opts.OnLack = func(l layer.Lack) {
			fmt.Fprintf(cmd.ErrOrStderr(), "overlaydiff: not in the layer: %s: %s\n", diff.QuotePath(l.Path), l.Why)
		}
	}
	status := newStatus(cmd.ErrOrStderr(), "exporting")
	defer status.done()
	opts.OnProgress = func(_, bytes int64) { status.set(bytes) }
	var done layer.Exported
	toFile := e.output != "" && e.output != "-"
	if toFile {
		err = wholefile.Write(e.output, func(w io.Writer) error {
			return f.exportTo(cmd, d, w, opts, &done)
		})
	} else {
		err = f.exportTo(cmd, d, cmd.OutOrStdout(), opts, &done)
	}
	status.done()
	if err != nil {
		return err
	}
	f.pausing.note(cmd, d)
	e.remarks(cmd, d, &done)
	switch {
	case !toFile:
		return nil
	case f.json:
		return printJSON(cmd, struct {
			layer.Exported
			Engine string `json:"engine"`
			Reason string `json:"reason"`
			Raced  int64  `json:"raced"`
			proofJSON
			pauseJSON
		}{done, d.Engine(), d.Reason(), d.Raced(), proofOf(d), f.pausing.of(d)})
	}
	return printTable(cmd.OutOrStdout(), [][]string{
		{"layer", e.output},
		{"media type", done.Descriptor.MediaType},
		{"digest", done.Descriptor.Digest.String()},
		{"DiffID", done.DiffID.String()},
		{"size", human.ExactBytes(done.Descriptor.Size)},
		{"uncompressed", human.ExactBytes(done.Bytes)},
		{"entries", human.Count(done.Entries)},
		{"whiteouts", human.Count(done.Whiteouts)},
	})
}

// exportTo writes the layer. A container is thawed before the layer's file gets its name, so
// that no file has it whose container did not stand still.
func (f *stackFlags) exportTo(cmd *cobra.Command, d *overlaydiff.Diff, w io.Writer, opts layer.ExportOptions, done *layer.Exported) (err error) {
	*done, err = d.Export(f.pausing.context(cmd), w, opts)
	return f.pausing.end(err)
}

// remarks says on standard error what the layer lacks.
func (e *exportFlags) remarks(cmd *cobra.Command, d *overlaydiff.Diff, done *layer.Exported) {
	say := func(n int64, one, many, rest string) {
		if n > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "overlaydiff: %s %s\n", human.Plural(n, one, many), rest)
		}
	}
	say(done.Inexpressible, "thing", "things", "can't be said by a layer and was left out (sockets, attributes taken off directories); -v names them")
	say(done.Skipped, "entry", "entries", "whose name begins with .wh. was left out")
	say(done.Unmapped, "entry", "entries", "whose owner has no id in the container was left out; -v names them")
	say(d.Raced(), "entry vanished or changed", "entries vanished or changed", "while they were read; the layer has what was seen of them")
}
