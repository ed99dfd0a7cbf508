package main

import (
	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/diff"
)

// printTop lists what is biggest in one upper directory.
func (f *nodeFlags) printTop(cmd *cobra.Command, args []string, n int, asJSON bool, bytes func(int64) string) error {
	if n <= 0 {
		return usagef("--top %d: say how many files and directories, 1 or more", n)
	}
	s := stackFlags{engine: "auto", content: "auto", root: f.root}
	if err := s.check(args); err != nil {
		return err
	}
	stack, err := s.stack(cmd.Context(), args)
	if err != nil {
		return err
	}
	status := newStatus(cmd.ErrOrStderr(), "measuring")
	files, dirs, err := node.Top(cmd.Context(), stack, n)
	status.done()
	if err != nil {
		return err
	}
	rows := [][]string{{"SIZE", "ON DISK", "INODES", "PATH"}}
	for _, list := range [][]diff.Held{dirs, files} {
		for _, h := range list {
			if asJSON {
				err := printJSON(cmd, topJSON{h.Path, h.Dir, h.Bytes, h.DiskBytes, h.Inodes})
				if err != nil {
					return err
				}
			}
			path := diff.QuotePath(h.Path)
			if h.Dir && h.Path != "/" {
				path += "/"
			}
			rows = append(rows, []string{bytes(h.Bytes), bytes(h.DiskBytes), human.Count(h.Inodes), path})
		}
	}
	if asJSON {
		return nil
	}
	rightAlign(rows, 0, 1, 2)
	return printTable(cmd.OutOrStdout(), rows)
}

type topJSON struct {
	Path      string `json:"path"`
	Dir       bool   `json:"dir"`
	Bytes     int64  `json:"bytes"`
	DiskBytes int64  `json:"disk_bytes"`
	Inodes    int64  `json:"inodes"`
}
