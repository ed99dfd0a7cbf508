// Package sys owns the raw system calls of the hot paths and all use of
// unsafe: stat, listing, links and extended attributes relative to a directory
// descriptor.
//
// Every call names its object by a directory descriptor and one name, never by
// a path, and never follows a symbolic link in that name. Names are at most 255
// bytes and are copied to the stack, so a call allocates nothing but its
// result. Errors are bare [syscall.Errno] values: the caller knows the path and
// wraps them. Calls interrupted by a signal are repeated.
//
// Kernel floor: 5.10 (statx, openat2). What is newer (getxattrat, 6.13) has a
// fallback.
package sys
