package whiteout

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Origin is a file handle as overlayfs stores it: in the origin attribute of
// what was copied up (4.12), and in hexadecimal as the name of an entry of the
// inode index (4.13).
type Origin struct {
	Handle sys.Handle // as name_to_handle_at(2) returns it
	// FileSystem is the UUID of the layer's file system; zero if it has none or
	// the overlay is mounted with uuid=off.
	FileSystem [16]byte
	// Upper: the inode is one of the upper layer (OVL_FH_FLAG_PATH_UPPER).
	Upper bool
}

// The header of struct ovl_fb: version, magic, length of all, flags, handle
// type, UUID.
const (
	handleMagic  = 0xfb
	handleHeader = 21

	flagBigEndian = 1
	flagAnyEndian = 2
	flagUpper     = 4
)

var errHandle = errors.New("not a file handle of overlayfs")

// ParseOrigin decodes the value of an origin attribute. An error is what the kernel
// takes for "origin unknown" (ovl_check_fb_len of Linux 6.18): an empty value, which
// says that the origin's file system has no handles, a malformed one, a later version,
// unknown flags, and the other byte order. What follows the length given is ignored.
func ParseOrigin(value []byte) (Origin, error) {
	if len(value) < handleHeader || value[0] != 0 || value[1] != handleMagic || int(value[2]) > len(value) || value[2] < handleHeader {
		return Origin{}, errHandle
	}
	switch flags := value[3]; {
	case flags&^(flagBigEndian|flagAnyEndian|flagUpper) != 0,
		flags&flagAnyEndian == 0 && (flags&flagBigEndian != 0) != bigEndian:
		return Origin{}, errHandle
	}
	return Origin{
		Handle:     sys.Handle{Type: int32(value[4]), ID: string(value[handleHeader:value[2]])},
		FileSystem: [16]byte(value[5:handleHeader]),
		Upper:      value[3]&flagUpper != 0,
	}, nil
}

// bigEndian is the byte order of this machine.
var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

// The handle of an overlay's inode (struct ovl_fh, Linux 5.5): three bytes of padding
// before struct ovl_fb.
const (
	mountHandleType = 0xf8 // OVL_FILEID_V1
	mountHandlePad  = 3
)

// ParseMountHandle decodes a file handle that an overlay gives, which has the handle of
// the inode in its layer. It reports false for another file system's.
func ParseMountHandle(h sys.Handle) (Origin, bool) {
	if h.Type != mountHandleType || len(h.ID) < mountHandlePad {
		return Origin{}, false
	}
	o, err := ParseOrigin([]byte(h.ID)[mountHandlePad:])
	return o, err == nil
}

// ParseIndexName decodes the name of an index entry. Names that begin with '#'
// are temporary files and the shared whiteout.
func ParseIndexName(name string) (Origin, error) {
	if strings.HasPrefix(name, "#") {
		return Origin{}, errHandle
	}
	value, err := hex.DecodeString(name)
	if err != nil {
		return Origin{}, errHandle
	}
	return ParseOrigin(value)
}
