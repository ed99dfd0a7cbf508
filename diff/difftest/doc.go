// Package difftest is the conformance suite of diff engines.
//
// [Run] has a table of cases: layers as data, operations through a real mount,
// and the expected changes as they print. The expectations are themselves
// proven on every run, by the reference differ on two real mounts: of the lower
// layers alone, and of the whole stack. What the engine says is compared with
// the reference in full, and with the contract of [diff.Engine]: path order,
// the same answer for any number of workers, nothing left after a break,
// context.Canceled after a cancel.
//
// [RunRandom] does the same with random layer stacks on all file systems and
// mount options, for several engines at once. A failure prints the seed and the
// script of the case; OVERLAYDIFF_SEED=N runs that one again, with all options.
// OVERLAYDIFF_CASES=N sets the number of cases on each file system.
//
// A test of an engine is
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
//	func TestConformance(t *testing.T) { difftest.Run(t, open) }
//
// The package mounts and so needs root; see package testenv.
package difftest
