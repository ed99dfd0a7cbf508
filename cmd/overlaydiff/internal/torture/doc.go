// Package torture is what the torture tests share: how long each goes on, and a
// record of what it tried. The tests themselves are this package's: races, limits,
// faults, kills, cancellation, privilege, soak, each in a file of its own.
//
// Under go test they run a slice. With OVERLAYDIFF_TORTURE, a duration, the whole
// takes about that long; with OVERLAYDIFF_TORTURE_LOG, a file, each test appends
// to it what it did, a JSON object a line. make torture sets both, runs the fuzz
// targets and static checks besides, and writes docs/reliability.md of the file.
package torture
