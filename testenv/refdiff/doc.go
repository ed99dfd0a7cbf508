// Package refdiff is the slow differ that the engines are measured against. It
// reads two directory trees whole, through whatever is mounted there, and
// compares the two maps. It is written to be seen to be right: no parallelism,
// no skipping, and no line of code in common with an engine or with package
// diff, whose definition of a change it restates.
//
// It is no engine: both trees, xattrs included, are held in memory, and an
// entry that vanishes while it is read may be an error.
package refdiff
