//go:build linux

package node

import (
	"slices"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
)

// Rule is how a tool counts.
type Rule struct {
	Tool string
	// Rw is what the tool calls the size of the writable layer.
	Rw func(diff.Usage) int64
	// Layer counts a layer in the size of the whole. All layers of one sum are counted alike:
	// apparent bytes and allocated ones are never added.
	Layer func(diff.Usage) int64
	// WithoutRw: the size of the whole is without the writable layer.
	WithoutRw bool
	// WithInit: it has Docker's init layer.
	WithInit bool
	// MeasuresLayers: it measures the layers of the image, and does not read what
	// was written down when they were unpacked.
	MeasuresLayers bool
	// snapshots, if set, is the rule for containers whose layers are snapshots of containerd,
	// which writes down allocated bytes.
	snapshots *Rule
}

// For returns the rule for a container.
func (r Rule) For(c stores.Container) Rule {
	if r.snapshots == nil || c.RW.SnapshotKey == "" {
		return r
	}
	s := *r.snapshots
	s.Tool = r.Tool
	return s
}

// Own is the rule without a tool's name. The size of the whole is in allocated bytes where the
// sizes of the layers are.
var Own = Rule{Rw: apparent, Layer: apparent, snapshots: &Rule{Rw: apparent, Layer: allocated}}

// Rules are the tools' own.
var Rules = []Rule{
	// Docker: daemon/internal/directory calcSize; layers by layerdb's sizes. With the containerd
	// image store: the snapshotter's usage of the container's snapshot, and of all below it
	// (moby, daemon/containerd, GetContainerLayerSize).
	{Tool: "docker", Rw: apparent, Layer: apparent, snapshots: &Rule{Rw: allocated, Layer: allocated, WithInit: true}},
	// containerd: continuity's fs.DiskUsage; nerdctl adds the image's snapshots.
	{Tool: "containerd", Rw: allocated, Layer: allocated},
	// Podman: DiffSize of every layer; what it calls the root's size is without the
	// writable layer (libpod, rootFsSize).
	{Tool: "podman", Rw: apparent, Layer: apparent, WithoutRw: true, MeasuresLayers: true},
	// CRI-O: containers/storage's directory.Usage, unless there is an XFS quota.
	{Tool: "crio", Rw: apparent, Layer: apparent},
	// iSulad: util_calculate_dir_size counts every name.
	{Tool: "isulad", Rw: named, Layer: named},
}

func apparent(u diff.Usage) int64 { return u.Bytes }

func allocated(u diff.Usage) int64 { return u.DiskBytes }

func named(u diff.Usage) int64 { return diff.AddBytes(u.Bytes, u.LinkedBytes) }

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
