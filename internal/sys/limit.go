package sys

import "golang.org/x/sys/unix"

// Descriptors returns how many descriptors to hold for one purpose: most, or a part of
// what the process may have, 1/share, if that is less. It is never less than 2.
func Descriptors(most, share int) int {
	var allowed unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &allowed); err != nil {
		return most
	}
	return int(max(2, min(uint64(most), allowed.Cur/uint64(share))))
}
