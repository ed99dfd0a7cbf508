package rawref

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
)

// Unreadable is the line of a path at which a view has an error.
const Unreadable = "unreadable"

// Expected is what is said of a path: one of these lines, of which "" is nothing.
type Expected struct {
	Path  string
	Lines []string
	// Hidden: no listing has the name, so that an engine which reads listings misses it.
	Hidden bool
	// Unlistable: of a directory, see [Entry]; who lists the mount can't read it.
	Unlistable bool
	// Cached are other lines of a file that shares its lower inode with other names: a mount
	// whose cache has the inode of one of these shows that one's metadata (ovl_get_inode).
	Cached []string
	// Errno is the error of the new view at an unreadable path that the old view has.
	Errno syscall.Errno
}

// Allows reports whether an engine may say line.
func (e Expected) Allows(line string) bool { return slices.Contains(e.Lines, line) }

// Line returns the line of a change: kind is add, modify or delete, what names the
// differences.
func Line(kind, typ string, what []string, size int64) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %d %s", kind, typ, size, strings.Join(what, ",")))
}

// Compare returns what there is to say of two views, in path order.
func Compare(old, new map[string]*Entry) []Expected {
	paths := map[string]bool{}
	for p := range old {
		paths[p] = true
	}
	for p := range new {
		paths[p] = true
	}
	type inode struct{ dev, ino uint64 }
	names := map[inode][]*Entry{}
	for _, e := range new {
		if e.Err == 0 && e.Kind != "dir" {
			names[inode{e.Dev, e.Ino}] = append(names[inode{e.Dev, e.Ino}], e)
		}
	}
	var all []Expected
	ended := "" // below it nothing is said
	for _, p := range slices.SortedFunc(maps.Keys(paths), func(a, b string) int {
		return slices.CompareFunc(strings.Split(a, "/"), strings.Split(b, "/"), cmp.Compare[string])
	}) {
		if ended != "" && strings.HasPrefix(p, ended+"/") {
			continue
		}
		from, to := old[p], new[p]
		lines := compare(from, to)
		hidden := (from == nil || !from.Listed) && (to == nil || !to.Listed)
		unlistable := from != nil && from.Unlistable || to != nil && to.Unlistable
		var cached []string
		if to != nil && to.Err == 0 && to.Kind != "dir" {
			for _, other := range names[inode{to.Dev, to.Ino}] {
				if other != to {
					cached = append(cached, compare(from, other)...)
				}
			}
		}
		var errno syscall.Errno
		if from != nil && from.Err == 0 && to != nil {
			errno = to.Err
		}
		all = append(all, Expected{p, lines, hidden, unlistable, cached, errno})
		if lines[0] == Unreadable || to == nil || to.Kind != "dir" {
			ended = p
		}
	}
	return all
}

func compare(from, to *Entry) []string {
	switch {
	case from != nil && to != nil && from.Err != 0 && from.Err == to.Err:
		return []string{Unreadable, ""} // an engine need not look where the upper layer has nothing
	case from != nil && from.Err != 0, to != nil && to.Err != 0:
		return []string{Unreadable}
	case to == nil:
		return []string{Line("delete", from.Kind, nil, from.Size)}
	case from == nil:
		return []string{Line("add", to.Kind, nil, to.Size)}
	case from.Kind != to.Kind:
		return []string{Line("modify", to.Kind, []string{"type"}, to.Size)}
	}
	what := func(content bool) string {
		var what []string
		differs := func(name string, yes bool) {
			if yes {
				what = append(what, name)
			}
		}
		differs("mode", from.Mode != to.Mode)
		differs("uid", from.UID != to.UID)
		differs("gid", from.GID != to.GID)
		differs("device", from.Device != to.Device)
		differs("size", from.Size != to.Size)
		differs("content", content)
		differs("target", from.Target != to.Target)
		differs("mtime", from.Mtime != to.Mtime)
		differs("xattrs", !maps.Equal(from.Xattrs, to.Xattrs))
		if len(what) == 0 {
			return ""
		}
		return Line("modify", to.Kind, what, to.Size)
	}
	var lines []string
	switch {
	case from.Read == 0 && to.Read == 0:
		lines = []string{what(from.Content != to.Content)}
	case from.Read == to.Read: // it may be known that the content is one and the same
		lines = []string{what(false), Unreadable}
	default:
		lines = []string{Unreadable}
	}
	if from.Size != to.Size { // files of different sizes need not be read
		lines = append(lines, what(true))
	}
	return lines
}

// Size returns the bytes of the non-directories that are added or modified, every
// inode of the new view once.
func Size(all []Expected, new map[string]*Entry) (bytes int64) {
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	for _, x := range all {
		e := new[x.Path]
		if e == nil || e.Err != 0 || e.Kind == "dir" || x.Lines[0] == "" || x.Lines[0] == Unreadable {
			continue
		}
		if id := (inode{e.Dev, e.Ino}); !seen[id] || e.Nlink < 2 && e.Kind == "file" {
			seen[id] = true
			bytes += e.Size
		}
	}
	return bytes
}
