// Package archtest holds which package of the module may import which. It has
// no code of its own: its test compares a table with what go list says.
//
// The packages stand on floors and imports point down. A package that is not in
// the table fails the test, so that a new one is a decision. To let a package
// import more, change its line in the table and say in the commit why; to fix a
// build is no reason.
package archtest
