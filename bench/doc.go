// Package bench measures overlaydiff through its facade. It has tests only:
//
//	go test ./bench -run '^$' -bench .     on generated trees, the same in every run
//	bench/real-image.sh                    on a Debian system with packages installed over it
//
// A benchmark first checks that all its subjects give the same answer, then
// times them: a fast wrong answer is not measured. Subjects run in one process
// with a warm cache. Compare them with each other; times of different machines
// say little. With -short the generated trees are small: that shows that the
// benchmarks run, and no more.
//
// OVERLAYDIFF_BENCH_LOWER (one directory) and _UPPER name layers to measure
// instead of the generated ones. If they were written with index=on, _WORK names
// the work directory and _MERGED where the overlay is mounted.
package bench
