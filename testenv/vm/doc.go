// Package vm runs programs as root in virtual machines, each with a kernel of
// its own: the tests of this module on the kernels that people run.
//
// The guest is built from nothing but what is here: an uncompressed initramfs
// of the kernel's modules, an init in Go (guestinit, which is the kernel's
// modprobe too), the programs, and the few tools that the tests call. There is
// no distribution in it, no udev, no shell that a test did not ask for.
//
// [Fetch] gets kernels of Debian's archive, a [Kit] has what all machines of a
// run share, a [Machine] boots one and runs commands in turn. The verdict comes
// from the guest's init over a channel of its own: a kernel that panics, hangs
// or does not boot has none, and that is an error, never a success.
//
// Two commands use it. vmrun is for one program, also as go test -exec; matrix
// runs all test binaries on all kernels, and is what make test-vm calls.
//
// Without hardware virtualisation QEMU emulates, which is 5 to 20 times slower
// for work on files and 60 times for hashing. Guests of arm64 and s390x are emulated on
// x86-64, the only architecture of a host that has been tried.
package vm
