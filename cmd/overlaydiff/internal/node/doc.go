//go:build linux

// Package node finds every container and overlay of a machine and measures it,
// for the commands that show them.
package node
