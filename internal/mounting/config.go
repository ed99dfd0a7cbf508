package mounting

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Config is a mount that is being configured: what fsopen(2) returned (Linux 5.2). It is not
// safe for concurrent use.
type Config struct{ fd int }

// Begin begins to configure a mount of a file system of that type.
func Begin(fsType string) (Config, error) {
	fd, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
	return Config{fd}, err
}

// Set sets a parameter. One without a value is a flag.
func (c Config) Set(key, value string) error {
	if value == "" {
		return unix.FsconfigSetFlag(c.fd, key)
	}
	return unix.FsconfigSetString(c.fd, key, value)
}

// SetFD sets a parameter to a directory by its descriptor (lowerdir+: Linux 6.13).
func (c Config) SetFD(key string, fd int) error { return unix.FsconfigSetFd(c.fd, key, fd) }

// Create makes the super block.
func (c Config) Create() error { return unix.FsconfigCreate(c.fd) }

// Message returns the kernel's next message about what failed, without the letter of its
// importance. It is empty if there is none.
func (c Config) Message() string {
	var b [512]byte
	n, err := unix.Read(c.fd, b[:])
	if err != nil || n < 3 {
		return ""
	}
	return strings.TrimSpace(string(b[2:n])) // "e overlay: …"
}

// Tree mounts what was created, with flags as of mount(2), as a tree.
func (c Config) Tree(flags uintptr) (int, error) {
	attrs := 0
	for _, f := range []struct {
		flag uintptr
		attr int
	}{
		{unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY},
		{unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID},
		{unix.MS_NODEV, unix.MOUNT_ATTR_NODEV},
		{unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC},
		{unix.MS_NOATIME, unix.MOUNT_ATTR_NOATIME},
		{unix.MS_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME},
		{unix.MS_NOSYMFOLLOW, unix.MOUNT_ATTR_NOSYMFOLLOW},
	} {
		if flags&f.flag != 0 {
			attrs |= f.attr
		}
	}
	return unix.Fsmount(c.fd, unix.FSMOUNT_CLOEXEC, attrs)
}

// Close ends the configuration. A tree that was made of it stays.
func (c Config) Close() { unix.Close(c.fd) }
