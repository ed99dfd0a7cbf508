package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
)

// grouping is what --by takes.
type grouping struct {
	name string
	of   func(node.Measured) string
}

var groupings = map[string]func(node.Measured) string{
	"runtime":   runtimeOf,
	"image":     func(m node.Measured) string { return shortImage(m.Image) },
	"namespace": func(m node.Measured) string { return cmp.Or(m.Pod.Namespace, m.Namespace) },
	"pod": func(m node.Measured) string {
		if m.Pod == (stores.Pod{}) {
			return ""
		}
		return m.Pod.Namespace + "/" + m.Pod.Name
	},
}

func groupKeys() []string { return slices.Sorted(maps.Keys(groupings)) }

// parseBy returns nil for "".
func parseBy(name string) (*grouping, error) {
	of := groupings[name]
	switch {
	case name == "":
		return nil, nil //nolint:nilnil // no sums
	case of == nil:
		return nil, usagef("--by %s: it is one of %s", diff.QuotePath(name), strings.Join(groupKeys(), ", "))
	}
	return &grouping{name, of}, nil
}

// sum is a line of sums. Sizes with the image's layers are not summed up: containers share
// layers.
type sum struct {
	By         string `json:"by,omitempty"`
	Key        string `json:"key"`
	Total      bool   `json:"total,omitempty"`
	Containers int    `json:"containers"`
	Running    int    `json:"running"`
	Unknown    int    `json:"unknown"` // containers without a size
	SizeRw     int64  `json:"size_rw"`
	DiskBytes  int64  `json:"disk_bytes"`
	Inodes     int64  `json:"inodes"`
	Savable    int64  `json:"savable_bytes"`
}

func sumOf(by, key string, found []node.Measured) sum {
	s := sum{By: by, Key: key, Total: by == ""}
	for _, m := range found {
		s.Containers++
		if m.State == stores.Running {
			s.Running++
		}
		if m.Err != nil {
			s.Unknown++
			continue
		}
		s.SizeRw = diff.AddBytes(s.SizeRw, m.SizeRw)
		s.DiskBytes += m.Usage.DiskBytes
		s.Inodes += m.Usage.Inodes
		if m.CopyUpsErr == nil {
			s.Savable = diff.AddBytes(s.Savable, m.CopyUps.Bytes())
		}
	}
	return s
}

// sums prints a line a group, the biggest first.
func (p *lister) sums(found []node.Measured) error {
	groups := map[string][]node.Measured{}
	for _, m := range found {
		key := p.by.of(m)
		groups[key] = append(groups[key], m)
	}
	var list []sum
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, sumOf(p.by.name, key, groups[key]))
	}
	slices.SortStableFunc(list, func(a, b sum) int { return cmp.Compare(b.SizeRw, a.SizeRw) })
	if p.total {
		list = append(list, sumOf("", "", found))
	}
	table := [][]string{{strings.ToUpper(p.by.name), "CONTAINERS", "RUNNING", "SIZE", "ON DISK", "INODES", "SAVABLE"}}
	for _, s := range list {
		if p.json {
			if err := writeJSON(p.out, s); err != nil {
				return err
			}
			continue
		}
		key := cell(s.Key, 100)
		if s.Total {
			key = "TOTAL"
		}
		table = append(table, []string{
			key, fmt.Sprint(s.Containers), fmt.Sprint(s.Running), p.bytes(s.SizeRw), p.bytes(s.DiskBytes), human.Count(s.Inodes), p.bytes(s.Savable),
		})
	}
	if p.json {
		return nil
	}
	rightAlign(table, 1, 2, 3, 4, 5, 6)
	if err := printTable(p.out, table); err != nil {
		return err
	}
	p.reasons(found)
	return nil
}
