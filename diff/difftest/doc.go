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
// mount options, for several engines at once. What fails is shrunk to the few
// operations that it takes and printed as a script for [RunScript], beside the
// seed: OVERLAYDIFF_SEED=N runs that case alone. OVERLAYDIFF_CASES=N sets the
// number of cases on each file system; with both, N cases from that seed on.
//
// [Survey] returns what engines make of the table, as data.
//
// A test of an engine is
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
//	func TestConformance(t *testing.T) { difftest.Run(t, open) }
//
// The package mounts and so needs root; see package testenv.
package difftest
