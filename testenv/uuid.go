package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// FileSystemUUID returns the UUID of the file system of a directory as the kernel writes it
// into the marks of overlayfs: it has a file copied up, in a directory that is removed again.
// Before Linux 6.9 some file systems tell it nobody else.
func FileSystemUUID(dir string) (uuid [16]byte, err error) {
	dir, err = os.MkdirTemp(dir, "uuid")
	if err != nil {
		return uuid, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	at := func(name string) string { return filepath.Join(dir, name) }
	o := Overlay{Lower: []string{at("l")}, Upper: at("u"), Work: at("w")}
	for _, name := range []string{"l", "u", "w", "m"} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			return uuid, err
		}
	}
	if err := os.WriteFile(at("l/f"), nil, 0o644); err != nil {
		return uuid, err
	}
	if err := mountOverlay(o, at("m")); err != nil {
		return uuid, err
	}
	err = errors.Join(os.Chmod(at("m/f"), 0o600), unmount(at("m")))
	if err != nil {
		return uuid, err
	}
	// struct ovl_fb: version, magic, length, flags, type, UUID, file handle
	var origin [256]byte
	const begin = 5
	n, err := syscall.Getxattr(at("u/f"), "trusted.overlay.origin", origin[:])
	if err != nil || n < begin+len(uuid) {
		return uuid, fmt.Errorf("the origin of %s: %d bytes, %w", at("u/f"), n, errors.Join(err, syscall.ENODATA))
	}
	copy(uuid[:], origin[begin:])
	return uuid, nil
}
