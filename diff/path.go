package diff

import "strings"

// ComparePaths orders two paths component by component and returns -1, 0 or
// +1. The separator sorts before every other byte, so the contents of a
// directory follow it directly: "/a", "/a/b", "/a-b". Names within one
// directory compare bytewise.
func ComparePaths(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	switch {
	case i == len(a) && i == len(b):
		return 0
	case i == len(a):
		return -1
	case i == len(b):
		return +1
	case a[i] == '/':
		return -1
	case b[i] == '/':
		return +1
	case a[i] < b[i]:
		return -1
	}
	return +1
}

// Join returns the path of name in the directory dir, "/" or a path without
// a trailing slash.
func Join(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}
