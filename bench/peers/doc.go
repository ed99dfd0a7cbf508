// Package peers measures overlaydiff beside the code that container runtimes
// use today, on the same mounts and in the same process: moby, containerd and
// its continuity, buildkit, Podman's storage, umoci. Their code is imported, in
// the versions of go.mod, and called as they call it themselves.
//
// It is a module of its own, so that nobody who imports the library gets theirs.
//
//	go test -run '^$' -bench .                      the short set, minutes
//	OVERLAYDIFF_BENCH=full go test -bench … -count 5  what the report is made of
//	./test.sh                                        its tests
//
// The tasks are Usage and Changes; Layer, the tar of the changes to nowhere, and
// LayerDigest, LayerGzip, LayerZstd, which add what a store of blobs needs; Apply,
// ApplyDigest and ApplyOverlay, a layer into an empty directory, alone, with the
// layer's digest, and with whiteouts as overlayfs has them;
// Memory, what writing a large layer takes in a process of its own; Copies, two
// trees that share nothing.
//
// Before a subject is timed, its answer is compared with ours, path by path. What
// a layer does is seen by applying it to the old view, see replay. One
// that is wrong is timed all the same, and marked in the column "wrong" with how
// many paths are; "error" is 1 where it gave up. What each is wrong about is in
// docs/features.md, from TestAnswers on the conformance suite.
//
// The subjects named floor-… are bare system calls, see package floor: the limit
// for whoever asks the kernel name by name.
package peers
