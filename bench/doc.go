// Package bench has what is measured and how: scenarios as data, images made
// from a seed, subjects, and the check that comes before the clock.
//
//	make bench                             beside the peers, minutes (bench/peers)
//	make bench-full                        every scenario, and docs/benchmarks.md of it (bench/report)
//	make bench-compare BASE=rev            the work tree beside a revision, as ratios
//	go test ./bench -run '^$' -bench .     ours alone
//	bench/real-image.sh                    on a Debian system with packages installed over it
//
// A [Scenario] becomes a [Scene]: layers on a file system, and mounts of both
// views. A [Task] is a question, and its subjects are who answers. [Measure]
// first compares their answers: a fast wrong answer is marked as such. All
// subjects of a scene run in one process. Compare them with each other; times of
// different machines say little.
//
// OVERLAYDIFF_BENCH names the set of scenarios: tiny, short (without it) or
// full. With -short it is tiny: that shows that the benchmarks run, and no more.
//
// OVERLAYDIFF_BENCH_LOWER (one directory) and _UPPER name layers to measure
// instead of all that. If they were written with index=on, _WORK names the work
// directory and _MERGED where the overlay is mounted.
//
// The package imports testing: it is for benchmarks, here and in nested modules.
package bench
