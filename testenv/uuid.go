package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pkg/xattr"
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
	const begin = 5
	origin, err := xattr.LGet(at("u/f"), "trusted.overlay.origin")
	if err != nil {
		return uuid, err
	}
	if len(origin) < begin+len(uuid) {
		return uuid, fmt.Errorf("the origin of %s has %d bytes", at("u/f"), len(origin))
	}
	copy(uuid[:], origin[begin:])
	return uuid, nil
}

// Mistype has the directory dir of an overlay copied up to the upper layer's up, and gives
// its origin mark to to, which is no directory.
func Mistype(dir, up, to string) error {
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	origin, err := xattr.LGet(up, "trusted.overlay.origin")
	return errors.Join(err, xattr.LSet(to, "trusted.overlay.origin", origin))
}
