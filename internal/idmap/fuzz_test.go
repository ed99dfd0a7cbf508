package idmap

import (
	"bytes"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
)

// FuzzXattrIDs maps the ids in access control lists and capabilities, which may be any
// bytes, to the host and back: that is the same again. What has no id or none that is
// mapped is left alone, or is an error.
func FuzzXattrIDs(f *testing.F) {
	maps := []diff.IDRange{{Container: 0, Host: 100000, Size: 65536}, {Container: 1 << 31, Host: 1, Size: 1000}}
	host := diff.IDMap{Users: maps, Groups: maps}
	container := host.Inverse()
	f.Add(ACLAccess, []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x07\x00\x05\x00\x00\x00\x08\x00\x07\x00\x06\x00\x00\x00"))
	f.Add(ACLDefault, []byte("\x02\x00\x00\x00\x02\x00\x07\x00\xff\xff\xff\xff"))
	f.Add(ACLAccess, []byte("\x02\x00\x00\x00\x02"))
	f.Add(Capabilities, []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(Capabilities, []byte("\x01\x00\x00\x03\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00"))
	f.Add("user.a", []byte("x"))
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		before := bytes.Clone(value)
		mapped, err := Xattr(host, name, value)
		if !bytes.Equal(before, value) {
			t.Fatalf("%s: %x was changed to %x", name, before, value)
		}
		if err != nil {
			return
		}
		if name != ACLAccess && name != ACLDefault && name != Capabilities && !bytes.Equal(mapped, value) {
			t.Fatalf("%s: %x becomes %x", name, value, mapped)
		}
		back, err := Xattr(container, name, mapped)
		if err != nil {
			t.Fatalf("%s: %x becomes %x, and that %v", name, value, mapped, err)
		}
		// Of a capability, root 0 is said in either form.
		want, err := Xattr(diff.IDMap{Users: same, Groups: same}, name, value)
		if err != nil || !bytes.Equal(back, want) {
			t.Errorf("%s: %x becomes %x, and that %x; want %x, %v", name, value, mapped, back, want, err)
		}
	})
}

// same maps every id to itself, all but one.
var same = []diff.IDRange{{Size: 1<<32 - 1}}
