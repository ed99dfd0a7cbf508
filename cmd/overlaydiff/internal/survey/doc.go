// Package survey holds the changes of an overlay as a tree that adds up what is
// below each directory, for those who show it: one pass over the changes, one over
// the waste, then no more than memory. A million changes take about 100 MB.
package survey
