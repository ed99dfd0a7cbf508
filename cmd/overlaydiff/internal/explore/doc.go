// Package explore shows the changes of an overlay on a full screen: a tree with the
// sizes added up, and of each path what it was and what it is.
//
// It draws only the rows that fit, from a [survey.Tree], so that a million changes
// are no different from ten. Names and contents are a container's: nothing of them
// reaches the terminal that it could take for more than text.
package explore
