package features

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// verdicts has for each errno whether it is the kernel's no, and what it says.
// What is not here could not be told.
var verdicts = map[unix.Errno]struct {
	answer   Answer
	volatile bool
	says     string
}{
	unix.EINVAL:     {answer: No, says: "the kernel refuses it"},
	unix.EOPNOTSUPP: {answer: No, says: "the file system does not support it"},
	unix.ENOTTY:     {answer: No, says: "the file system does not know the request"},
	unix.ENOSYS:     {answer: No, says: "the kernel does not know the system call"},
	unix.ENODEV:     {answer: No, volatile: true, says: "the kernel has no such file system; if it is a module, load it (modprobe overlay)"},
	unix.EXDEV:      {answer: No, says: "it does not go from one file system to the other"},

	// Whoever writes to a full or read-only directory learns nothing about overlays.
	unix.EACCES: {answer: Unknown, says: "permission is denied"},
	unix.EROFS:  {answer: Unknown, says: "the file system is read-only; name a directory that can be written"},
	unix.ENOSPC: {answer: Unknown, says: "the file system is full; free some space, or name another directory"},
	unix.EDQUOT: {answer: Unknown, says: "the disk quota is used up; name another directory"},
	unix.EMFILE: {answer: Unknown, says: "too many files are open; raise the limit (ulimit -n)"},
	unix.ENFILE: {answer: Unknown, says: "too many files are open on this machine"},
	unix.ENOMEM: {answer: Unknown, says: "memory is short"},
}

// judge says what an error of a system call tells about the feature.
func judge(err error) (answer Answer, reason string, volatile bool) {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return Unknown, err.Error(), false
	}
	if errno == unix.EPERM {
		return Unknown, err.Error() + "; " + whyNotPermitted(), false
	}
	v, ok := verdicts[errno]
	if !ok {
		return Unknown, err.Error(), false
	}
	return v.answer, err.Error() + "; " + v.says, v.volatile
}

// unsure makes any failure one that tells nothing about the feature.
func unsure(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(err.Error())
}

// whyNotPermitted guesses what EPERM means. The kernel says the same whatever
// the cause, so it is never a no.
func whyNotPermitted() string {
	switch {
	case !hasSysAdmin():
		return "it takes CAP_SYS_ADMIN, which this process does not have: run as root, or in a user namespace (unshare -Urm)"
	case !ownsMounts():
		return "the mount namespace belongs to another user namespace: take one of your own, too (unshare -Urm)"
	case !initialUserns():
		return "it takes privileges outside this user namespace, or a security module refused it"
	}
	return "a security filter or module refused it"
}

// hasSysAdmin reports whether CAP_SYS_ADMIN is effective, in whatever namespace.
func hasSysAdmin() bool {
	var data [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// ownsMounts reports whether the mount namespace belongs to this user namespace.
// If the ioctl fails, its owner is out of sight.
func ownsMounts() bool {
	ns, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return true
	}
	defer ns.Close()
	owner, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return !errors.Is(err, unix.EPERM)
	}
	defer unix.Close(owner)
	var st unix.Stat_t
	return unix.Fstat(owner, &st) != nil || st.Ino == usernsID()
}
