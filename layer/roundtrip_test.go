package layer_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/oddtar"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

const (
	// capability is cap_net_raw+ep, of the second form.
	capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	// accessList is u::rw-,u:1:r--,g::r--,m::r--,o::r--.
	accessList = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x01\x00\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"
)

// What GNU tar packs is unpacked to the tree that it packed.
func TestApply_GNUTar(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("needs GNU tar")
	}
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		testenv.Needs(t, fs, testenv.UserXattrs)
		dir := testenv.Scratch(t, fs)
		tree := filepath.Join(dir, "tree")
		testenv.Tree(t, tree,
			"dir . mode=0751 mtime=12345.678901234", "dir d mode=02775 uid=1 gid=2 mtime=1.5",
			fmt.Sprintf("file d/f content=x mode=04711 uid=3 gid=4 mtime=-1.5 xattr.user.k=v xattr.trusted.k=w xattr.security.capability=%q", capability),
			"link d/g d/f", "symlink d/s -> ../nowhere uid=5 mtime=9.9", "symlink s -> d xattr.trusted.k=onlink",
			"char c 1:3 mode=0640 xattr.trusted.k=onchar", "block b 7:300", "fifo p gid=9",
			fmt.Sprintf("file acl xattr.system.posix_acl_access=%q", accessList),
			fmt.Sprintf("dir dacl xattr.system.posix_acl_default=%q", accessList), "dir dacl/plain", "file dacl/f",
			`file "odd\n\xff name" content="\x00\x01"`, "file sparse content=start size=9000000", "dir empty mode=0",
			"file "+strings.Repeat("long/", 60)+"f content=deep", "file big content="+strings.Repeat("0123456789", 300_000),
		)
		for _, name := range []string{"dacl/f", "dacl/plain"} { // what they got from their directory
			for _, attr := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
				_ = xattr.LRemove(filepath.Join(tree, name), attr)
			}
		}
		want := snapshot(t, tree)
		for _, args := range [][]string{{}, {"--sparse"}, {"--gzip"}, {"--zstd"}} {
			args = append(args, "--xattrs", "--xattrs-include=*", "--acls", "-H", "pax", "-cf", "-", "-C", tree, ".")
			data, err := exec.Command("tar", args...).Output()
			if err != nil {
				t.Fatalf("tar %v: %v", args, err)
			}
			got := filepath.Join(dir, "got")
			mustApply(t, got, data)
			same(t, fmt.Sprint(args), want, snapshot(t, got))
			if list, err := refdiff.Diff(tree, got); err != nil || len(list) > 0 {
				t.Errorf("%v: %v, %v", args, list, err)
			}
			var st syscall.Stat_t
			if err := syscall.Stat(filepath.Join(got, "sparse"), &st); err != nil || st.Blocks*512 > 1<<20 {
				t.Errorf("the sparse file has %d blocks, %v", st.Blocks, err)
			}
			mustApply(t, got, data) // in place, over itself
			same(t, fmt.Sprint("again ", args), want, snapshot(t, got))
			if err := os.RemoveAll(got); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Ids are mapped wherever they are; without a mapping the entry is named.
func TestApply_IDs(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Ext4)
	data := archive(t,
		reg("d/f", "").owner(1, 2).mode(0o6755).xattr("security.capability", capability).xattr("system.posix_acl_access", accessList))
	maps := func(o *layer.ApplyOptions) {
		o.UIDs = []layer.IDMap{{Container: 0, Host: 100000, Size: 10}}
		o.GIDs = []layer.IDMap{{Container: 0, Host: 200000, Size: 10}}
	}
	root := filepath.Join(dir, "r")
	mustApply(t, root, data, maps)
	for name, want := range map[string]string{".": "100000:200000", "d": "100000:200000", "d/f": "100001:200002"} {
		var st syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(root, name), &st); err != nil || fmt.Sprintf("%d:%d", st.Uid, st.Gid) != want {
			t.Errorf("%s: %d:%d, %v; want %s", name, st.Uid, st.Gid, err, want)
		}
	}
	capValue, err := xattr.LGet(filepath.Join(root, "d/f"), "security.capability")
	if want := "\x01\x00\x00\x03" + capability[4:] + "\xa0\x86\x01\x00"; err != nil || string(capValue) != want {
		t.Errorf("capability %x, %v; want %x", capValue, err, want)
	}
	acl, err := xattr.LGet(filepath.Join(root, "d/f"), "system.posix_acl_access")
	if want := strings.Replace(accessList, "\x01\x00\x00\x00", "\xa1\x86\x01\x00", 1); err != nil || string(acl) != want {
		t.Errorf("access list %x, %v; want %x", acl, err, want)
	}
	_, err = apply(t, filepath.Join(dir, "no"), archive(t, reg("f", "").owner(10, 0)), maps)
	if err == nil || !strings.Contains(err.Error(), "entry f: user id 10 has no mapping") {
		t.Errorf("error %v", err)
	}
}

// Access times are those of the layer, or of the modification.
func TestApply_AccessTimes(t *testing.T) {
	root := filepath.Join(testenv.Scratch(t, testenv.Tmpfs), "r")
	with := func(e entry) entry { e.AccessTime = time.Unix(77, 5); return e }
	mustApply(t, root, archive(t, with(reg("f", "x")), with(dirEntry("d")), reg("d/g", ""), with(symlink("l", "f"))))
	for name, want := range map[string]string{"f": "77.5", "d": "77.5", "l": "77.5", "d/g": "1000000000.0"} {
		var st syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(root, name), &st); err != nil || fmt.Sprintf("%d.%d", st.Atim.Sec, st.Atim.Nsec) != want {
			t.Errorf("%s: %d.%d, %v; want %s", name, st.Atim.Sec, st.Atim.Nsec, err, want)
		}
	}
}

// Blocks of zeros become holes, wherever they are.
func TestApply_Holes(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := testenv.Scratch(t, fs)
		zero, text := strings.Repeat("\x00", 64<<10), strings.Repeat("x", 64<<10)
		for i, content := range []string{
			zero, zero + "x", text + zero, zero + text + zero, strings.Repeat(zero, 40), strings.Repeat(zero, 40) + "x",
			strings.Repeat(text+zero, 20), "x" + strings.Repeat(zero, 3), strings.Repeat(zero, 16) + text, zero[1:], text + zero[:100],
		} {
			root := filepath.Join(dir, fmt.Sprint(i))
			mustApply(t, root, archive(t, reg("f", content)))
			b, err := os.ReadFile(filepath.Join(root, "f"))
			if err != nil || string(b) != content {
				t.Errorf("%d: %d of %d bytes come back, %v", i, len(b), len(content), err)
			}
			var st syscall.Stat_t
			most := int64(strings.Count(content, "x"))/4096*8 + 8*64
			if err := syscall.Stat(filepath.Join(root, "f"), &st); err != nil || st.Blocks > most {
				t.Errorf("%d: %d blocks, want at most %d", i, st.Blocks, most)
			}
		}
	})
}

// What the directory would pass on to new entries is not the layer's.
func TestApply_DefaultACL(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Ext4)
	root := filepath.Join(dir, "r")
	testenv.Tree(t, root, fmt.Sprintf("dir d mode=02755 gid=7 xattr.system.posix_acl_default=%q", accessList))
	mustApply(t, root, archive(t, reg("d/f", ""), dirEntry("d/e"), reg("d/implied/g", ""),
		entry{Header: fifoHeader("d/p")}, device("d/c", 1, 3)))
	for _, name := range []string{"f", "e", "implied", "implied/g", "p", "c"} {
		path := filepath.Join(root, "d", name)
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil || st.Gid != 0 {
			t.Errorf("%s: group %d, %v", name, st.Gid, err)
		}
		if got := attributes(t, path); got != "" {
			t.Errorf("%s has %q", name, got)
		}
	}
}

// Whatever bytes are applied, to nothing or onto a tree with links that lead out,
// nothing outside changes and nothing is left beside. Run it with -fuzzminimizetime 1x:
// goroutines make coverage differ from run to run, and minimizing never ends.
func FuzzApply(f *testing.F) {
	for _, group := range [][]hostile{traversal, links, whiteouts, forgeries} {
		for _, c := range group {
			if c.raw == nil {
				f.Add(seed(c), c.overlay)
			}
		}
	}
	for seed := range uint64(40) {
		f.Add(oddtar.Random(seed).Data, seed%2 == 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, overlay bool) {
		if len(data) > 1<<20 {
			return
		}
		top := testenv.MemoryDir(t)
		out := filepath.Join(top, "canary")
		testenv.Tree(t, out, "file f content=canary", "file d/f content=canary mtime=7.5")
		before := snapshot(t, out)
		form := layer.Plain
		if overlay {
			form = layer.Overlay
		}
		root := filepath.Join(top, "root")
		for _, below := range []bool{false, true} {
			if below {
				testenv.Tree(t, root, "file a/f", "symlink a/l -> "+out, "symlink l -> ../canary", "file x/y")
			}
			r := io.LimitReader(bytes.NewReader(data), 1<<20)
			_, err := layer.Apply(t.Context(), r, root, layer.ApplyOptions{Form: form, SkipDevices: true})
			if _, serr := os.Lstat(root); err != nil && !below && serr == nil {
				t.Errorf("after %v something is left", err)
			}
			same(t, "outside of the tree", before, snapshot(t, out))
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
		}
		if names, err := os.ReadDir(top); err != nil || len(names) != 1 {
			t.Errorf("left: %v, %v", names, err)
		}
	})
}
