package layer

import (
	"errors"
	"fmt"
	"strings"
)

// maxName is NAME_MAX of every file system that layers are on.
const maxName = 255

// clean returns the path within the tree that an entry's name stands for: names
// joined by '/', without ".", "..", empty ones or a slash at the beginning; "" is
// the root. ".." is taken lexically, as all who read layers do: a/../b is b
// whatever a is.
func clean(unsafeName string) (string, error) {
	if strings.IndexByte(unsafeName, 0) >= 0 {
		return "", errors.New("the name has a NUL byte in it")
	}
	if isClean(unsafeName) {
		return unsafeName, nil
	}
	var names []string
	for name := range strings.SplitSeq(unsafeName, "/") {
		switch {
		case name == "", name == ".":
		case name != "..":
			if len(name) > maxName {
				return "", fmt.Errorf("a name in it has %d bytes, more than %d", len(name), maxName)
			}
			names = append(names, name)
		case len(names) == 0:
			return "", errors.New("the name leads out of the tree")
		default:
			names = names[:len(names)-1]
		}
	}
	return strings.Join(names, "/"), nil
}

// isClean reports whether clean would change nothing: usual names need no copy.
func isClean(name string) bool {
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		switch n := name[start:i]; {
		case n == "", n == ".", n == "..", len(n) > maxName:
			return false
		}
		start = i + 1
	}
	return true
}

// inRoot returns where the target of a symbolic link in the directory at path dir
// leads if the tree's root is the root directory. It keeps "..", which depends on
// what is there.
func inRoot(dir, target string) string {
	if strings.HasPrefix(target, "/") {
		dir = ""
	}
	var names []string
	for name := range strings.SplitSeq(dir+"/"+target, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return strings.Join(names, "/")
}

// split returns the parent of a path and the last name in it.
func split(path string) (dir, base string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// role is what the name of an entry makes of it.
type role uint8

const (
	_            role = iota
	ordinary          // the entry is put there
	whiteoutName      // what lower layers have at a name is removed
	opaqueName        // what lower layers have in the directory is removed
	metaName          // aufs' own, of no meaning to anybody else
)

// Names with a meaning of their own (OCI image-spec, layer.md, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	metaPrefix     = ".wh..wh."
	opaqueMarker   = ".wh..wh..opq"
)

// roleOf returns what a path of [clean] says, and of a whiteout the name that it
// removes. The type of the entry does not matter.
func roleOf(path string) (role, string, error) {
	dir, base := split(path)
	for name := range strings.SplitSeq(dir, "/") {
		switch {
		case strings.HasPrefix(name, metaPrefix):
			return metaName, "", nil
		case strings.HasPrefix(name, whiteoutPrefix):
			return 0, "", errors.New("a whiteout has no entries below it")
		}
	}
	name, isWhiteout := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !isWhiteout:
		return ordinary, "", nil
	case base == opaqueMarker:
		return opaqueName, "", nil
	case strings.HasPrefix(base, metaPrefix):
		return metaName, "", nil
	case name == "", name == ".", name == "..":
		return 0, "", fmt.Errorf("a whiteout of %q removes nothing that can be there", name)
	}
	return whiteoutName, name, nil
}
