// Package views has the one walk over the two views of a tree.
//
// An engine implements [Views]: it lists the names of a directory and looks them up. The
// walk does all else: it lists, tries again what changes while it is read, counts races,
// compares by [diff.Compare], and hands each name to a visitor, which makes of it what was
// asked for: a change, an item to carry, or waste. [Explain] and [Look] go down along one
// path by the same lookups.
package views
