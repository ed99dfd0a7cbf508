//go:build linux

package node

import (
	"slices"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Rule is how a tool counts.
type Rule struct {
	Tool string
	// Rw is what the tool calls the size of the writable layer.
	Rw func(diff.Usage) int64
	// RootFs is what it calls the size of the whole, of Rw and that of the image.
	RootFs func(rw, image int64) int64
	// MeasuresLayers: it measures the layers of the image, and does not read what
	// was written down when they were unpacked.
	MeasuresLayers bool
}

// Own is the rule without a tool's name.
var Own = Rule{Rw: apparent, RootFs: whole}

// Rules are the tools' own (DESIGN.md 4).
var Rules = []Rule{
	// Docker: daemon/internal/directory calcSize; layers by layerdb's sizes.
	{Tool: "docker", Rw: apparent, RootFs: whole},
	// containerd: continuity's fs.DiskUsage; nerdctl adds the image's snapshots.
	{Tool: "containerd", Rw: func(u diff.Usage) int64 { return u.DiskBytes }, RootFs: whole},
	// Podman: DiffSize of every layer; what it calls the root's size is without the
	// writable layer (libpod, rootFsSize).
	{Tool: "podman", Rw: apparent, RootFs: func(_, image int64) int64 { return image }, MeasuresLayers: true},
	// CRI-O: containers/storage's directory.Usage, unless there is an XFS quota.
	{Tool: "crio", Rw: apparent, RootFs: whole},
	// iSulad: util_calculate_dir_size counts every name.
	{Tool: "isulad", Rw: func(u diff.Usage) int64 { return diff.AddBytes(u.Bytes, u.LinkedBytes) }, RootFs: whole},
}

func apparent(u diff.Usage) int64 { return u.Bytes }

func whole(rw, image int64) int64 { return diff.AddBytes(rw, image) }

// RuleOf returns the rule of a tool, false if it is not known. "" is [Own].
func RuleOf(tool string) (Rule, bool) {
	if tool == "" {
		return Own, true
	}
	i := slices.IndexFunc(Rules, func(r Rule) bool { return r.Tool == tool })
	if i < 0 {
		return Rule{}, false
	}
	return Rules[i], true
}

// Tools returns the names of the tools.
func Tools() []string {
	var names []string
	for _, r := range Rules {
		names = append(names, r.Tool)
	}
	return names
}
