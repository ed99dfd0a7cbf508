// Package idmap maps the user and group ids of owners, and those inside extended
// attributes, by a [diff.IDMap].
package idmap
