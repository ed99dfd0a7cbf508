//go:build linux

package freeze

import (
	"path/filepath"
	"slices"
	"strings"
)

// Group is a control group of a process that may be frozen.
type Group struct {
	// Dir is where the group is, relative to the root of the node.
	Dir string
	// V2 says that it is one of version 2.
	V2 bool

	path string // within its hierarchy
}

// Groups returns the groups of a process that have a freezer, from its /proc/PID/cgroup, whose
// format is in cgroups(7). The freezer of version 1 comes first: where there is one, the
// runtimes use it. The hierarchy of version 2 is in one of two places. A group that is outside
// of this process's control group namespace is left out, as it has no path here.
func Groups(table string) (groups []Group) {
	for line := range strings.Lines(table) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || !strings.HasPrefix(f[2], "/") || slices.Contains(strings.Split(f[2], "/"), "..") {
			continue
		}
		if f[0] == "0" {
			groups = append(groups, groupAt("", f[2], true), groupAt("unified", f[2], true))
		} else if slices.Contains(strings.Split(f[1], ","), "freezer") {
			groups = append([]Group{groupAt(f[1], f[2], false)}, groups...)
		}
	}
	return groups
}

func groupAt(hierarchy, path string, v2 bool) Group {
	return Group{Dir: filepath.Join("sys/fs/cgroup", hierarchy, path), V2: v2, path: path}
}

// StateFile is the file in Dir that has the word which IsFrozen takes.
func (g Group) StateFile() string {
	if g.V2 {
		return "cgroup.freeze"
	}
	return "freezer.state"
}

// IsFrozen reports whether a word of the state file says that the group is frozen.
func (g Group) IsFrozen(word string) bool { return word == g.word(true) }

func (g Group) word(frozen bool) string {
	switch {
	case g.V2 && frozen:
		return "1"
	case g.V2:
		return "0"
	case frozen:
		return "FROZEN"
	}
	return "THAWED"
}

// of returns the group that the whole container with that id has: its processes may be in groups
// below the one that the runtime named by the id. If none is named so, it is g.
func (g Group) of(id string) (_ Group, named bool) {
	above := strings.TrimSuffix(g.Dir, strings.TrimSuffix(g.path, "/"))
	names := strings.Split(g.path, "/")
	for i, name := range names {
		if id != "" && (name == id || len(id) >= 12 && strings.Contains(name, id)) {
			g.path = strings.Join(names[:i+1], "/")
			g.Dir = above + g.path
			return g, true
		}
	}
	return g, false
}
