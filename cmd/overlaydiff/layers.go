package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
)

func layersCommand() *cobra.Command {
	var f stackFlags
	cmd := &cobra.Command{
		Use:   "layers [flags] STACK",
		Short: "List the layers of a container or overlay, with size and directory",
		Long: `layers lists the layers of an overlay from the upper one down, each with its size
and directory. Layers of a container also have names: the layer's id in the store
(Docker: cache id; containerd: snapshot key), and the chain ID and DiffID (sha256)
of image layers.

If the runtime recorded a size, layers shows it unchanged (containerd records
allocated bytes). Otherwise the size is that of the files in the directory.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			layers, stack, err := f.layers(cmd.Context(), args)
			if err != nil {
				return err
			}
			status := newStatus(cmd.ErrOrStderr(), "measuring")
			defer status.done()
			if err := measureLayers(cmd.Context(), layers, stack); err != nil {
				return err
			}
			status.done()
			return printLayers(cmd, layers, f.json)
		},
	}
	f.register(cmd)
	return cmd
}

// layerJSON is a line of layers --json.
type layerJSON struct {
	Kind        string `json:"kind"` // upper, init, lower, data
	Size        int64  `json:"size"`
	Measured    bool   `json:"measured"` // not written down by the runtime
	ID          string `json:"id,omitempty"`
	CacheID     string `json:"cache_id,omitempty"`
	SnapshotKey string `json:"snapshot_key,omitempty"`
	ChainID     string `json:"chain_id,omitempty"`
	DiffID      string `json:"diff_id,omitempty"`
	Dir         string `json:"dir"`
}

func (f *stackFlags) layers(ctx context.Context, args []string) (list []layerJSON, _ diff.Stack, _ error) {
	var c stores.Container
	var err error
	switch {
	case f.oldDir != "" || f.newDir != "":
		err = usagef("layers is about an overlay: two trees have none")
	case len(args) > 0:
		c, err = f.named(ctx, args[0])
	default:
		c.Stack, err = f.stack(ctx, args)
	}
	s := c.Stack
	if err != nil {
		return nil, s, err
	}
	add := func(kind string, l stores.Layer) {
		list = append(list, layerJSON{kind, l.Size, false, l.ID, l.CacheID, l.SnapshotKey, l.ChainID, l.DiffID, l.Dir})
	}
	if c.ID != "" {
		add("upper", c.RW)
		if c.Init.Dir != "" {
			add("init", c.Init)
		}
		for _, l := range c.Layers {
			add("lower", l)
		}
		return list, s, nil
	}
	for _, part := range []struct {
		kind string
		dirs []string
	}{{"upper", []string{s.Upper}}, {"lower", s.Lower}, {"data", s.Data}} {
		for _, dir := range part.dirs {
			if dir != "" {
				add(part.kind, stores.Layer{Dir: dir, Size: -1})
			}
		}
	}
	return list, s, nil
}

// measureLayers finds the sizes that nobody wrote down.
func measureLayers(ctx context.Context, layers []layerJSON, of diff.Stack) error {
	for i := range layers {
		if layers[i].Size >= 0 {
			continue
		}
		u, err := overlaydiff.Usage(ctx, diff.Stack{Upper: layers[i].Dir, Features: of.Features, Opener: of.Opener}, overlaydiff.Options{})
		if err != nil {
			return err
		}
		layers[i].Size, layers[i].Measured = u.Bytes, true
	}
	return nil
}

func printLayers(cmd *cobra.Command, layers []layerJSON, asJSON bool) error {
	own := "ID"
	for _, l := range layers { // all of a container have the same kind
		switch {
		case l.ID != "":
			own = "LAYER ID"
		case l.CacheID != "":
			own = "CACHE ID"
		case l.SnapshotKey != "":
			own = "SNAPSHOT"
		}
	}
	rows := [][]string{{"LAYER", "SIZE", own, "CHAIN ID", "DIFF ID", "DIRECTORY"}}
	for _, l := range layers {
		if asJSON {
			if err := printJSON(cmd, l); err != nil {
				return err
			}
		}
		rows = append(rows, []string{
			l.Kind, human.Bytes(l.Size), digestCell(l.ID + l.CacheID + l.SnapshotKey), digestCell(l.ChainID), digestCell(l.DiffID), diff.QuotePath(l.Dir),
		})
	}
	if asJSON {
		return nil
	}
	rightAlign(rows, 1)
	return printTable(cmd.OutOrStdout(), rows)
}

func digestCell(s string) string {
	if s == "" {
		return "-"
	}
	s = strings.TrimPrefix(s, "sha256:")
	if digits, ok := strings.CutSuffix(s, "-init"); ok {
		return shortID(digits) + "-init"
	}
	return shortID(s)
}
