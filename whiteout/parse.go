package whiteout

import (
	"bytes"
	"strings"
	"syscall"
)

// IsOpaque reports whether the value of an opaque attribute hides what lower
// layers have in the directory. Only "y" does: "x" (6.8) announces xattr
// whiteouts and hides nothing, and every other value is ignored.
func IsOpaque(value []byte) bool { return len(value) == 1 && value[0] == 'y' }

// ParseRedirect returns where a redirect leads in the layers below: a name in
// the same parent, or a path from the layer's root that begins with '/'. What
// follows a NUL does not count.
//
// Errors are the kernel's: EINVAL if the value is empty, is relative with a '/'
// in it, or has an empty component. Components "." and ".." are refused when
// the redirect is walked (EACCES), so no redirect leaves a layer.
func ParseRedirect(value []byte) (string, error) {
	if i := bytes.IndexByte(value, 0); i == 0 {
		return ".", nil // an empty name passes here, too, and is refused like one when it is walked
	} else if i > 0 {
		value = value[:i]
	}
	s := string(value)
	path, absolute := strings.CutPrefix(s, "/")
	if !absolute && strings.Contains(s, "/") || strings.HasPrefix(path, "/") ||
		strings.HasSuffix(path, "/") || strings.Contains(path, "//") || path == "" {
		return "", syscall.EINVAL
	}
	return s, nil
}

// CheckMetacopy checks the value of a metacopy attribute as lookup does: it is
// empty or a header of at least four bytes with a digest (6.6); else EIO.
func CheckMetacopy(value []byte) error {
	if n := len(value); n > 0 && n < metacopyHeader {
		return syscall.EIO
	}
	return nil
}

// The header of struct ovl_metacopy: version, length of all, flags, algorithm.
const (
	metacopyHeader = 4
	metacopyMost   = metacopyHeader + 64 // with the longest digest
)

// ParseDigest returns the fs-verity digest that the value of a metacopy
// attribute names, and its algorithm (1 SHA-256, 2 SHA-512); none is nil. The
// kernel looks at it when the file is opened on a mount with verity=on, and
// fails with EIO if the value contradicts itself.
func ParseDigest(value []byte) (algorithm uint8, digest []byte, err error) {
	if len(value) == 0 || len(value) == metacopyHeader {
		return 0, nil, nil // OVL_HAS_DIGEST is set for longer values alone: this one is not looked at
	}
	if len(value) < metacopyHeader || len(value) > metacopyMost || value[0] != 0 || int(value[1]) != len(value) {
		return 0, nil, syscall.EIO
	}
	if value[3] == 0 { // ovl_validate_verity takes a header without an algorithm for an empty value
		return 0, nil, nil
	}
	return value[3], value[metacopyHeader:], nil
}
