package diff_test

import (
	"fmt"
	"slices"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Changes come in this order: what is below a directory follows it, before its siblings, however
// their names compare as strings.
func ExampleComparePaths() {
	paths := []string{"/a-b", "/a/c", "/a", "/a/b"}
	slices.SortFunc(paths, diff.ComparePaths)
	fmt.Println(paths)
	// Output: [/a /a/b /a/c /a-b]
}

// A change as the command prints it, and what differs.
func ExampleChange() {
	c := diff.Change{Kind: diff.Modify, What: diff.WhatMode | diff.WhatContent, Path: "/etc/motd"}
	fmt.Println(c, c.What)
	// Output: C /etc/motd mode,content
}
