package mounting

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// source is what the mount table has as the source of our mounts.
const source = "overlaydiff"

// Mount mounts a file system by mount(2), whose options all kernels understand.
func Mount(fsType, point string, flags uintptr, data string) error {
	return unix.Mount(source, point, fsType, flags, data)
}

// MakePrivate keeps what is mounted below a mount point from other namespaces.
func MakePrivate(point string) error { return unix.Mount("", point, "", unix.MS_PRIVATE, "") }

// Detach takes a mount away from a path that is no symbolic link. The mount ends when
// nothing in it is open any more.
func Detach(point string) error {
	return unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
}

// Unmount ends a mount. If files are still open there it waits a moment, and then detaches it.
// If there is no mount, somebody else unmounted it, which is no error.
func Unmount(point string) error {
	var err error
	for wait := 5 * time.Millisecond; wait < 200*time.Millisecond; wait *= 2 {
		if err = unix.Unmount(point, unix.UMOUNT_NOFOLLOW); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(wait)
	}
	if errors.Is(err, unix.EBUSY) {
		err = Detach(point)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
