// Package testenv is what the tests of this module stand on: scratch file
// systems, directory trees and mutations as data, random layer stacks, overlay
// mounts, and a check that a test binary leaves nothing behind. The slow
// reference that engines are measured against is in testenv/refdiff.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
// which gives the process a temporary directory of its own and fails it if
// goroutines, descriptors, mounts, loop devices or temporary files are left.
//
// A test that needs privileges or a tool which is not there skips and says
// what is missing. With OVERLAYDIFF_REQUIRE or CI set it fails instead, so that
// a machine that was meant to test something can't quietly not do it.
// OVERLAYDIFF_FS=tmpfs,ext4 restricts the file systems that [EachFS] runs on.
//
// Trees ([Tree]) and mutations ([Op]) are lines of words separated by blanks:
//
//	dir a mode=0750 xattr.trusted.overlay.opaque=y
//	file a/f content="two words" mtime=1700000000.5
//	rename a/f "odd\nname"
//
// Whatever has blanks, quotes or odd bytes is written as a double-quoted Go
// string. Operations through a mount don't follow a symbolic link in the last
// component, but do in the others: keep targets inside the tree.
//
// The package is for tests on Linux only and knows nothing of package diff.
package testenv
