package overlaydiff

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestExport_Reproducible: the same changes made twice, on every file system, at
// different times, give the same bytes.
func TestExport_Reproducible(t *testing.T) {
	testenv.RequireRoot(t)
	first := map[layer.Compression][]byte{}
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for range 2 {
			dir := testenv.Scratch(t, fs)
			s := diff.Stack{Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
			testenv.Tree(t, s.Lower[0], "file a/old content=x", "file a/gone content=x", "file b content=x", "link c b", "link d b", "dir z")
			s.Mountpoint = testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work, Options: "index=off"})
			testenv.Do(t, s.Mountpoint, "write a/old y", "unlink a/gone", "open c", "mkdir n", "create n/one 1", "link n/one n/two", "setxattr b trusted.z=1",
				"setxattr b trusted.a=2", "mknod p fifo", "symlink l to", "mkdir z/y", "create z/y/x x", "utimes l 77.5", "rename z/y z/w")
			for _, engine := range []Choice{Native, Naive} {
				d, err := Open(t.Context(), s, Options{Engine: engine})
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range []layer.Compression{layer.None, layer.Gzip, layer.Zstd} {
					var b bytes.Buffer
					if _, err := d.Export(t.Context(), &b, layer.ExportOptions{Compression: c, Latest: time.Unix(1_500_000_000, 0)}); err != nil {
						t.Fatal(err)
					}
					if first[c] == nil {
						first[c] = b.Bytes()
					}
					if !bytes.Equal(first[c], b.Bytes()) {
						t.Errorf("%s, %s: %d bytes that are others than the first %d", engine, c, b.Len(), len(first[c]))
					}
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// TestExport_SameEverywhere: a tree with numbers of every width gives one layer on every
// architecture, and so does what that layer is applied to. make test-arch runs it on several;
// they agree because each gives these digests.
func TestExport_SameEverywhere(t *testing.T) {
	testenv.RequireRoot(t)
	const (
		// cap_net_raw+ep of the namespace whose root is 100000, third form: little-endian.
		capability = "\x01\x00\x00\x03\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xa0\x86\x01\x00"
		// u::rw-,u:70000:r--,g::r--,m::r--,o::r--, little-endian.
		accessList = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x70\x11\x01\x00" +
			"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"
	)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	empty, tree, again := filepath.Join(dir, "empty"), filepath.Join(dir, "tree"), filepath.Join(dir, "again")
	testenv.Tree(t, empty)
	testenv.Tree(t, again)
	testenv.Tree(t, tree,
		"dir d mode=02775 uid=1 gid=70000 mtime=1.5", "file d/f content=x mode=04711 uid=3000000000 gid=4294967294 mtime=-1.5",
		"link d/g d/f", "symlink s -> d/../nowhere uid=5 mtime=5000000000.123456789", "char c 300:70000 mode=0640", "block b 7:300", "fifo p gid=9",
		fmt.Sprintf("file cap mode=0755 xattr.security.capability=%q", capability), fmt.Sprintf("file acl xattr.system.posix_acl_access=%q", accessList),
		"file x xattr.trusted.k=v", `file "odd\n\xff name" content="\x00\x01"`, "file sparse content=start size=300000", "file later mtime=9000000000")
	for c, want := range map[layer.Compression]string{
		layer.None: "638a67dee28f07ddbd8cdc9b268a12e683183960c6e29c34b60fa7f50f8bb0b3",
		layer.Gzip: "811373b1ee149328661d313703289d778350826a0c49e5cf2fc3a026e39aefcd",
		layer.Zstd: "dae3431f3c7ed1640be02a03021472c771af89df94715a6ca9c0169a02cee41e",
	} {
		data := layerOf(t, empty, tree, c)
		if _, err := layer.Apply(t.Context(), bytes.NewReader(data), again, layer.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		for from, data := range map[string][]byte{"the tree": data, "what was applied": layerOf(t, empty, again, c)} {
			if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want {
				t.Errorf("%s, compression %s: the layer of %d bytes is %x, want %s", from, c, len(data), sum, want)
			}
		}
	}
}

func layerOf(t *testing.T, from, to string, c layer.Compression) []byte {
	t.Helper()
	d, err := OpenTrees(t.Context(), from, to, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var b bytes.Buffer
	if _, err := d.Export(t.Context(), &b, layer.ExportOptions{Compression: c}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
