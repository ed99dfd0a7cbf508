package whiteout

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// FuzzMarks decodes values of the attributes opaque and metacopy.
func FuzzMarks(f *testing.F) {
	for _, s := range []string{
		"y", "x", "n", "", "yy",
		"\x00\x04\x00\x00", "\x00\x04\x00\x01", "\x00\x03\x00", "\x01\x04\x00\x00", "\x00\x05\x00\x00d", "\x00\x24\x00\x01" + strings.Repeat("d", 32),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if got := IsOpaque(value); got != (string(value) == "y") {
			t.Errorf("IsOpaque(%q) = %t", value, got)
		}
		algorithm, digest, err := ParseDigest(value)
		switch {
		case err != nil:
		case CheckMetacopy(value) != nil:
			t.Errorf("%q has the digest %x, and is refused", value, digest)
		case len(value) == metacopyHeader && digest != nil:
			t.Errorf("%q has digest %x", value, digest)
		case len(value) > metacopyHeader:
			again := append([]byte{0, byte(len(value)), value[2], algorithm}, digest...)
			if algorithm != value[3] || algorithm == 0 && digest != nil || algorithm != 0 && !bytes.Equal(again, value) {
				t.Errorf("%q has digest %d %x", value, algorithm, digest)
			}
		}
		if err := CheckMetacopy(value); (err != nil) != (len(value) >= 1 && len(value) <= 3) {
			t.Errorf("CheckMetacopy(%q) = %v", value, err)
		}
	})
}

// FuzzParseIndexName decodes names of index entries: those that are an origin in
// hexadecimal, and no others.
func FuzzParseIndexName(f *testing.F) {
	for _, s := range []string{"00fb1d00010102030405060708090a0b0c0d0e0f1011223344aabbccdd", "00FB1A0081" + strings.Repeat("00", 17), "#12", "00fb", "", "00fb1600017"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		o, err := ParseIndexName(name)
		value, notHex := hex.DecodeString(name)
		if notHex != nil {
			if err == nil {
				t.Errorf("%q is %+v", name, o)
			}
			return
		}
		want, wantErr := ParseOrigin(value)
		if o != want || (err == nil) != (wantErr == nil) {
			t.Errorf("%q: %+v, %v; as a value %+v, %v", name, o, err, want, wantErr)
		}
		if err != nil {
			return
		}
		value = value[:value[2]] // what follows the length given is ignored
		again := append([]byte{0, handleMagic, byte(handleHeader + len(o.Handle.ID)), value[3], byte(o.Handle.Type)}, o.FileSystem[:]...)
		if again = append(again, o.Handle.ID...); !bytes.Equal(again, value) {
			t.Errorf("%q is %+v, which is %x", name, o, again)
		}
	})
}

// FuzzVisible holds what a mount shows of an attribute's name: all but overlay's own,
// and those with one level of escape less. What is seen is stored under that name
// again, or escaped.
func FuzzVisible(f *testing.F) {
	for _, s := range []string{"user.a", "trusted.overlay.opaque", "trusted.overlay.overlay.opaque", "user.overlay.", "user.overlay.overlay.", "trusted.overlayx", "trusted.overlay.overlay.overlay.x"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, name string, userxattr bool) {
		n := trusted
		if userxattr {
			n = user
		}
		shown, ok := n.Visible(name)
		ours := strings.HasPrefix(name, n.Prefix)
		switch {
		case !ours && (shown != name || !ok),
			ours && ok && n.Prefix+"overlay."+strings.TrimPrefix(shown, n.Prefix) != name,
			ours && ok != strings.HasPrefix(name, n.Prefix+"overlay."):
			t.Errorf("%q is shown as %q, %t", name, shown, ok)
		}
	})
}
