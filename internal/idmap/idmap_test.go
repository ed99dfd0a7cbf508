package idmap

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
)

func TestIDMapping(t *testing.T) {
	maps := []diff.IDRange{{Container: 0, Host: 1000, Size: 1}, {Container: 1, Host: 100000, Size: 65535}, {Container: 1 << 31, Host: 1<<32 - 10, Size: 100}}
	in := diff.IDMap{Users: maps}
	out := in.Inverse()
	for _, c := range []struct {
		container, host int64
		ok              bool
	}{
		{0, 1000, true}, {1, 100000, true}, {65535, 165534, true}, {65536, 0, false}, {-1, 0, false},
		{1 << 31, 1<<32 - 10, true}, {1<<31 + 9, 0, false}, {1<<32 - 1, 0, false}, {1 << 32, 0, false},
	} {
		got, err := User(in, c.container)
		if (err == nil) != c.ok || int64(got) != c.host {
			t.Errorf("%d to the host: got %d, %v", c.container, got, err)
		}
		if !c.ok {
			continue
		}
		if back, err := User(out, c.host); err != nil || int64(back) != c.container {
			t.Errorf("%d to the container: got %d, %v", c.host, back, err)
		}
	}
	for id, ok := range map[int64]bool{0: true, 1<<32 - 2: true, 1<<32 - 1: false, -5: false} {
		if got, err := User(diff.IDMap{}, id); (err == nil) != ok || ok && int64(got) != id {
			t.Errorf("without a map %d is %d, %v", id, got, err)
		}
	}
	if _, err := User(out, 0); err == nil {
		t.Error("the host's root is nobody in the container")
	}
}

func aclOf(entries ...[3]uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, ACLVersion)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

func capOf(magic uint32, root ...uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, magic)
	b = append(b, "permittedinherits"[:16]...)
	for _, r := range root {
		b = binary.LittleEndian.AppendUint32(b, r)
	}
	return b
}

func TestIDMappings_Xattrs(t *testing.T) {
	maps := []diff.IDRange{{Container: 0, Host: 5000, Size: 100}}
	groups := []diff.IDRange{{Container: 0, Host: 9000, Size: 100}}
	host := diff.IDMap{Users: maps, Groups: groups}
	container := host.Inverse()
	const none = 1<<32 - 1
	for _, c := range []struct {
		name       string
		from, want []byte // want nil: an error
	}{
		{ACLAccess, aclOf([3]uint32{1, 7, none}, [3]uint32{2, 6, 7}, [3]uint32{8, 5, 7}, [3]uint32{16, 4, none}),
			aclOf([3]uint32{1, 7, none}, [3]uint32{2, 6, 5007}, [3]uint32{8, 5, 9007}, [3]uint32{16, 4, none})},
		{ACLDefault, aclOf(), aclOf()},
		{ACLDefault, aclOf([3]uint32{2, 6, 100}), nil},
		{ACLDefault, []byte("x"), nil},
		{ACLDefault, aclOf()[:3], nil},
		{ACLDefault, append(aclOf(), 1, 2, 3), nil},
		{Capabilities, capOf(capRevision2 | 1), capOf(capRevision3|1, 5000)},
		{Capabilities, capOf(capRevision3, 7), capOf(capRevision3, 5007)},
		{Capabilities, capOf(capRevision3, 100), nil},
		{Capabilities, []byte("odd"), []byte("odd")},
		{"user.other", []byte("any"), []byte("any")},
	} {
		got, err := Xattr(host, c.name, c.from)
		if (err != nil) != (c.want == nil) || !bytes.Equal(got, c.want) {
			t.Errorf("%s %x: got %x, %v; want %x", c.name, c.from, got, err, c.want)
		}
		if c.want == nil {
			continue
		}
		if back, err := Xattr(container, c.name, c.want); err != nil || !bytes.Equal(back, c.from) {
			t.Errorf("%s %x: back %x, %v", c.name, c.from, back, err)
		}
		if same, err := Xattr(diff.IDMap{}, c.name, c.from); err != nil || !bytes.Equal(same, c.from) {
			t.Errorf("%s without a map: %x, %v", c.name, same, err)
		}
	}
}
