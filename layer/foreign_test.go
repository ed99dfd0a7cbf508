package layer_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// skippable is a frame that a zstd decoder passes over.
func skippable(content string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x184d2a53)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(content))), content...)
}

// Compressed data comes in parts, with what is to be passed over among them and zeros
// behind.
func TestApply_Framing(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	whole := archive(t, reg("a", strings.Repeat("some content", 50_000)), reg("b", "\x00\x00\x00"))
	zeros := make([]byte, 10240)
	pack := func(c layer.Compression, parts ...[]byte) []byte {
		var b []byte
		for _, p := range parts {
			b = append(b, compress(t, c, p)...)
		}
		return b
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	half := len(whole) / 2
	for name, test := range map[string]struct {
		data []byte
		ok   bool
	}{
		"gzip of two members":         {pack(layer.Gzip, whole[:half], whole[half:]), true},
		"gzip with zeros":             {join(pack(layer.Gzip, whole), zeros), true},
		"two members and a zero":      {join(pack(layer.Gzip, whole[:77], whole[77:]), zeros[:1]), true},
		"gzip with an empty member":   {pack(layer.Gzip, whole[:0], whole), true},
		"gzip with garbage":           {join(pack(layer.Gzip, whole), []byte("garbage")), false},
		"gzip, zeros, garbage":        {join(pack(layer.Gzip, whole), zeros, []byte("x")), false},
		"zstd of two frames":          {pack(layer.Zstd, whole[:half], whole[half:]), true},
		"zstd with zeros":             {join(pack(layer.Zstd, whole), zeros), true},
		"zstd with one zero":          {join(pack(layer.Zstd, whole), zeros[:1]), true},
		"pzstd":                       {join(skippable("\x00\x00\x00\x00"), pack(layer.Zstd, whole[:half]), skippable("x"), pack(layer.Zstd, whole[half:])), true},
		"zstd:chunked":                {join(pack(layer.Zstd, whole[:512], whole[512:]), skippable("{}"), skippable(string(zeros[:64]))), true},
		"chunked and zeros":           {join(pack(layer.Zstd, whole), skippable("{}"), zeros), true},
		"zstd with garbage":           {join(pack(layer.Zstd, whole), []byte("garbage")), false},
		"zstd, zeros, garbage":        {join(pack(layer.Zstd, whole), zeros, []byte("x")), false},
		"a skippable frame cut off":   {join(pack(layer.Zstd, whole), skippable("cut off")[:12]), false},
		"a second frame cut off":      {join(pack(layer.Zstd, whole[:half]), pack(layer.Zstd, whole[half:])[:20]), false},
		"a header of a frame cut off": {join(pack(layer.Zstd, whole), pack(layer.Zstd, whole)[:4]), false},
	} {
		root := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		out, err := apply(t, root, test.data)
		if ok := err == nil; ok != test.ok {
			t.Errorf("%s: %v", name, err)
		}
		if test.ok && (out.DiffID != digestOf(whole) || out.Digest != digestOf(test.data)) {
			t.Errorf("%s: digests %+v", name, out)
		}
	}
}

// Layers without anything change nothing.
func TestApply_Empty(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	for i, data := range [][]byte{
		nil, compress(t, layer.Gzip, nil), compress(t, layer.Zstd, nil), skippable("x"), make([]byte, 1024), make([]byte, 10240), compress(t, layer.Gzip, make([]byte, 1024)),
	} {
		root := filepath.Join(dir, fmt.Sprint(i))
		mustApply(t, root, data)
		if got := brief(t, root); got != "" {
			t.Errorf("%d: %q", i, got)
		}
	}
}

// special is a header of one type with content, as no package writes it.
func special(t *testing.T, kind byte, name, content string) []byte {
	t.Helper()
	b := plain(t, entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Format: tar.FormatUSTAR}, content})
	b = b[:len(b)-1024]
	b[156] = kind
	checksum(b[:512])
	return b
}

// Global headers hold for all entries after them, and own records before them (POSIX
// and GNU tar). Such as are nobody's are ignored.
func TestApply_GlobalHeaders(t *testing.T) {
	root := filepath.Join(testenv.Scratch(t, testenv.Ext4), "r")
	own := record("uid", "7") + record("mtime", "")
	data := bytes.Join([][]byte{
		special(t, 'g', "pax_global_header", record("comment", "0123456789abcdef")+record("GNU.volume.label", "x")+record("vendor.x", "y")),
		special(t, '0', "before", ""),
		special(t, 'g', "g", record("uid", "1000")+record("gid", "1001")+record("mtime", "1234.5")+record("atime", "-7.25")+record("SCHILY.xattr.user.k", "all")),
		special(t, '0', "a", ""), special(t, 'x', "x", own), special(t, '0', "b", ""),
		special(t, 'g', "g", record("uid", "2000")+record("gid", "")), special(t, '0', "c", ""), make([]byte, 1024),
	}, nil)
	out := mustApply(t, root, data)
	if out.Entries != 4 || out.Skipped != 0 {
		t.Errorf("%+v", out)
	}
	for name, want := range map[string]string{
		"before": "0:0 1000000000.0 1000000000.0 ", "a": "1000:1001 1234.500000000 -8.750000000 user.k=all",
		"b": "7:1001 1000000000.0 -8.750000000 user.k=all", "c": "2000:0 1234.500000000 -8.750000000 user.k=all",
	} {
		var st syscall.Stat_t
		path := filepath.Join(root, name)
		err := syscall.Lstat(path, &st)
		value, _ := xattr.LGet(path, "user.k")
		got := fmt.Sprintf("%d:%d %d.%d %d.%d ", st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, st.Atim.Sec, st.Atim.Nsec)
		if len(value) > 0 {
			got += "user.k=" + string(value)
		}
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, want)
		}
	}
	for _, bad := range []string{record("size", "5"), record("GNU.sparse.major", "1"), record("uid", "x"), record("mtime", "soon"), record("atime", "1.x")} {
		data := append(special(t, 'g', "g", bad), archive(t, reg("a", "x"))...)
		if _, err := apply(t, root+"bad", data); err == nil || !strings.Contains(err.Error(), "global header") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Of the types that GNU tar alone writes a label is nothing, a directory with its list a
// directory, and the rest of a file an error that says where the beginning is.
func TestApply_GNUTypes(t *testing.T) {
	root := filepath.Join(testenv.Scratch(t, testenv.Tmpfs), "r")
	data := bytes.Join([][]byte{special(t, 'V', "a label", ""), special(t, 'D', "d", "Yf\x00\x00"), special(t, '0', "d/f", "x")}, nil)
	out := mustApply(t, root, append(data, make([]byte, 1024)...))
	if got := brief(t, root); got != "d/ d/f=x" || out.Entries != 2 || out.Skipped != 0 {
		t.Errorf("%q, %+v", got, out)
	}
	if _, err := apply(t, root, append(special(t, 'M', "f", "rest"), data...)); err == nil || !strings.Contains(err.Error(), "join the volumes") {
		t.Errorf("the rest of a file: %v", err)
	}
}

// Names of attributes that no file system of Linux has are left out and counted.
func TestApply_ForeignAttributes(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Ext4)
	e := reg("etc/a", "x").xattr("com.apple.provenance", "\x01\x02").xattr("user.k", "v").xattr("system.nfs4_acl", "x")
	e.PAXRecords["LIBARCHIVE.xattr.com.apple.provenance"] = "AQI"
	e.PAXRecords["LIBARCHIVE.creationtime"] = "1"
	e.PAXRecords["SCHILY.acl.ace"] = "owner@:rw-p--aARWcCos:-------:allow"
	s := symlink("l", "etc/a").xattr("user.k", "v") // EPERM
	want := map[string]int64{
		"com.apple.provenance": 2, "system.nfs4_acl": 1, "LIBARCHIVE.xattr.com.apple.provenance": 1, "LIBARCHIVE.creationtime": 1,
		"SCHILY.acl.ace": 1, "user.k": 1,
	}
	for _, form := range []layer.Form{layer.Plain, layer.Overlay} {
		root := filepath.Join(dir, string(form))
		out := mustApply(t, root, archive(t, dirEntry("etc").xattr("com.apple.provenance", "x"), e, s), func(o *layer.ApplyOptions) { o.Form = form })
		if d := cmp.Diff(want, out.LeftOut); d != "" || out.Skipped != 7 {
			t.Errorf("%s: %d left out\n%s", form, out.Skipped, d)
		}
		if got := attributes(t, filepath.Join(root, "etc/a")); !strings.Contains(got, "user.k") || strings.Contains(got, "apple") {
			t.Errorf("%s: %q", form, got)
		}
	}
	many := reg("f", "")
	for i := range 300 {
		many = many.xattr(fmt.Sprintf("com.x%d", i), "")
	}
	out := mustApply(t, filepath.Join(dir, "many"), archive(t, many))
	if len(out.LeftOut) != 101 || out.LeftOut["others"] != 200 || out.Skipped != 300 {
		t.Errorf("%d names, %d others, %d in all", len(out.LeftOut), out.LeftOut["others"], out.Skipped)
	}
}

// acl makes the value of an attribute.
func acl(items ...[3]uint32) string {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, i := range items {
		b = binary.LittleEndian.AppendUint16(b, uint16(i[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(i[1]))
		b = binary.LittleEndian.AppendUint32(b, i[2])
	}
	return string(b)
}

// Lists in the text forms of GNU tar, libarchive and star become lists. What they say
// of names without a number is left out, and widens nothing.
func TestApply_TextACLs(t *testing.T) {
	const no = 0xffffffff
	list := acl([3]uint32{1, 6, no}, [3]uint32{2, 4, 1000}, [3]uint32{4, 4, no}, [3]uint32{16, 4, no}, [3]uint32{32, 4, no})
	dir := testenv.Scratch(t, testenv.Ext4)
	for i, test := range []struct {
		text       string
		mode, want uint32
		acl        string
		left       int64
		fails      bool
	}{
		{text: "user::rw-,user:1000:r--,group::r--,mask::r--,other::r--", mode: 0o644, want: 0o644, acl: list},
		{text: "user::rw-\nuser:1000:r--\ngroup::r--\nmask::r--\nother::r--\n", mode: 0o644, want: 0o644, acl: list},
		{text: "other::r--,user:lisa:r--:1000,group::r--,user::rw-", mode: 0o644, want: 0o644, acl: list},
		{text: "u::rw-,u:1000:r--,g::r--,m:r--,o:r--", mode: 0o644, want: 0o644, acl: list},
		{text: "user::rw-,group::r--,other::---", mode: 0o664, want: 0o640},
		// Nobody may do what lisa could not: others and the group have less.
		{text: "user::rw-,user:lisa:---,group::r--,mask::rw-,other::r--", mode: 0o664, want: 0o600, left: 1},
		{text: "user::rw-,user:lisa:rw-,group::r--,mask::rw-,other::r--", mode: 0o664, want: 0o644, left: 1},
		{text: "user::rw-,group::r--,group:staff:---,mask::rw-,other::r--", mode: 0o664, want: 0o640, left: 1},
		{text: "user::rw-,user:lisa:-w-,user:1000:r--,group::r--,mask::rw-,other::r--", mode: 0o664, want: 0o660, left: 1,
			acl: acl([3]uint32{1, 6, no}, [3]uint32{2, 4, 1000}, [3]uint32{4, 0, no}, [3]uint32{16, 6, no}, [3]uint32{32, 0, no})},
		{text: "user::rw-", fails: true},
		{text: "user::rw-,group::r--,other::r--,user:x", fails: true},
		{text: "user::rw-,group::r--,other::rq-", fails: true},
		{text: "owner@:rw-,group::r--,other::r--", fails: true},
		{text: "user::rw-,group::r--,mask:x:r--,other::r--", fails: true},
	} {
		root := filepath.Join(dir, fmt.Sprint(i))
		e := reg("f", "").mode(int64(test.mode))
		e.PAXRecords = map[string]string{"SCHILY.acl.access": test.text, "SCHILY.acl.default": "of a directory only"}
		out, err := apply(t, root, archive(t, e))
		if test.fails {
			if err == nil || !strings.Contains(err.Error(), "access control list") {
				t.Errorf("%q: %v", test.text, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", test.text, err)
			continue
		}
		info, err := os.Stat(filepath.Join(root, "f"))
		if err != nil || uint32(info.Mode()) != test.want || out.LeftOut["SCHILY.acl.access"] != test.left {
			t.Errorf("%q: mode %o, %v, %v; want %o and %d left out", test.text, info.Mode(), out.LeftOut, err, test.want, test.left)
		}
		if got, _ := xattr.LGet(filepath.Join(root, "f"), "system.posix_acl_access"); string(got) != test.acl {
			t.Errorf("%q: %x, want %x", test.text, got, test.acl)
		}
	}
}

// A list that is left out by choice leaves the group without what the mask has.
func TestApply_NoACLs(t *testing.T) {
	const no = 0xffffffff
	list := acl([3]uint32{1, 6, no}, [3]uint32{2, 6, 1000}, [3]uint32{4, 4, no}, [3]uint32{16, 6, no}, [3]uint32{32, 4, no})
	d := dirEntry("d").mode(0o775)
	d.PAXRecords = map[string]string{"SCHILY.acl.default": "user::rwx,user:5:rwx,group::r-x,mask::rwx,other::r-x"}
	data := archive(t, reg("f", "").mode(0o664).xattr("system.posix_acl_access", list), d)
	dir := testenv.Scratch(t, testenv.Ext4)
	for which, want := range map[layer.Xattrs]os.FileMode{layer.XattrsAll: 0o664, layer.XattrsNone: 0o644, layer.XattrsOCI: 0o644} {
		root := filepath.Join(dir, string(which))
		mustApply(t, root, data, func(o *layer.ApplyOptions) { o.Xattrs = which })
		info, err := os.Stat(filepath.Join(root, "f"))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", which, info.Mode(), err, want)
		}
		_, err = xattr.LGet(filepath.Join(root, "d"), "system.posix_acl_default")
		if has := err == nil; has != (which == layer.XattrsAll) {
			t.Errorf("%s: a default list: %t", which, has)
		}
	}
}
