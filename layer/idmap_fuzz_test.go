package layer

import (
	"bytes"
	"testing"
)

// FuzzXattrIDs maps the ids in access control lists and capabilities, which may be any
// bytes, to the host and back: that is the same again. What has no id or none that is
// mapped is left alone, or is an error.
func FuzzXattrIDs(f *testing.F) {
	maps := []IDMap{{Container: 0, Host: 100000, Size: 65536}, {Container: 1 << 31, Host: 1, Size: 1000}}
	host := idMappings{toHost("user", maps), toHost("group", maps)}
	container := idMappings{toContainer("user", maps), toContainer("group", maps)}
	f.Add(aclAccess, []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x07\x00\x05\x00\x00\x00\x08\x00\x07\x00\x06\x00\x00\x00"))
	f.Add(aclDefault, []byte("\x02\x00\x00\x00\x02\x00\x07\x00\xff\xff\xff\xff"))
	f.Add(aclAccess, []byte("\x02\x00\x00\x00\x02"))
	f.Add(capabilities, []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(capabilities, []byte("\x01\x00\x00\x03\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00"))
	f.Add("user.a", []byte("x"))
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		before := bytes.Clone(value)
		mapped, err := host.xattr(name, value)
		if !bytes.Equal(before, value) {
			t.Fatalf("%s: %x was changed to %x", name, before, value)
		}
		if err != nil {
			return
		}
		if name != aclAccess && name != aclDefault && name != capabilities && !bytes.Equal(mapped, value) {
			t.Fatalf("%s: %x becomes %x", name, value, mapped)
		}
		back, err := container.xattr(name, mapped)
		if err != nil {
			t.Fatalf("%s: %x becomes %x, and that %v", name, value, mapped, err)
		}
		// Of a capability, root 0 is said in either form.
		want, err := (idMappings{toHost("user", same), toHost("group", same)}).xattr(name, value)
		if err != nil || !bytes.Equal(back, want) {
			t.Errorf("%s: %x becomes %x, and that %x; want %x, %v", name, value, mapped, back, want, err)
		}
	})
}

// same maps every id to itself, all but one.
var same = []IDMap{{Size: 1<<32 - 1}}
