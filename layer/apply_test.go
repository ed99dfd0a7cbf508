package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// stamp is the modification time of entries that have none of their own.
var stamp = time.Unix(testenv.DefaultMtime, 0)

// Entries of an archive.
type entry struct {
	tar.Header
	content string
}

func reg(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, content}
}

func dirEntry(name string) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""}
}

func symlink(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

func hardlink(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, ""}
}

func device(name string, major, minor int64) entry {
	return entry{tar.Header{Typeflag: tar.TypeChar, Name: name, Devmajor: major, Devminor: minor, Mode: 0o600}, ""}
}

func (e entry) mode(mode int64) entry { e.Mode = mode; return e }
func (e entry) owner(uid, gid int) entry {
	e.Uid, e.Gid = uid, gid
	return e
}
func (e entry) at(t time.Time) entry { e.ModTime = t; return e }
func (e entry) xattr(name, value string) entry {
	records := map[string]string{"SCHILY.xattr." + name: value}
	for k, v := range e.PAXRecords {
		records[k] = v
	}
	e.PAXRecords = records
	return e
}

// archive makes a tar of the entries.
func archive(tb testing.TB, entries ...entry) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		h.Size = int64(len(e.content))
		h.Format = tar.FormatPAX
		if h.ModTime.IsZero() {
			h.ModTime = stamp
		}
		if err := w.WriteHeader(&h); err != nil {
			tb.Fatalf("%s: %v", h.Name, err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			tb.Fatalf("%s: %v", h.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// snapshot describes a tree, an entry a line: all but directory sizes, access and
// change times. Hard links have the name of the first.
func snapshot(tb testing.TB, root string) []string {
	tb.Helper()
	var lines []string
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %v %d:%d %d.%09d", name, info.Mode(), st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if len(content) > 100 {
				content = fmt.Appendf(nil, "%d bytes, %x", len(content), digestOf(content))
			}
			line += fmt.Sprintf(" %q", content)
			if st.Nlink > 1 {
				if _, known := first[st.Ino]; !known {
					first[st.Ino] = name
				}
				line += " = " + first[st.Ino]
			}
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			line += " -> " + target
		case info.Mode()&fs.ModeDevice != 0:
			line += fmt.Sprintf(" %d:%d", st.Rdev>>8, st.Rdev&0xff)
		}
		attrs, err := xattr.LList(path)
		if err != nil && !errors.Is(err, syscall.EOPNOTSUPP) {
			return err
		}
		sort.Strings(attrs)
		for _, a := range attrs {
			v, err := xattr.LGet(path, a)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %s=%q", a, v)
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return lines
}

// same fails the test unless two snapshots are equal.
func same(tb testing.TB, what string, want, got []string) {
	tb.Helper()
	if d := cmp.Diff(want, got); d != "" {
		tb.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// apply applies an archive, as a plain tree unless the options say something else.
func apply(tb testing.TB, dir string, data []byte, change ...func(o *layer.ApplyOptions)) (layer.Applied, error) {
	tb.Helper()
	o := layer.ApplyOptions{Form: layer.Plain}
	for _, c := range change {
		c(&o)
	}
	return layer.Apply(context.Background(), bytes.NewReader(data), dir, o)
}

func mustApply(tb testing.TB, dir string, data []byte, change ...func(o *layer.ApplyOptions)) layer.Applied {
	tb.Helper()
	out, err := apply(tb, dir, data, change...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func overlayForm(o *layer.ApplyOptions) { o.Form = layer.Overlay }

// scratch returns a directory for trees on the file system.
func scratch(tb testing.TB, fs testenv.FS) string { return testenv.Scratch(tb, fs) }

// Every type of entry, on every file system, is what testenv makes of the same
// words.
func TestApply_Types(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := scratch(t, fs)
		odd := time.Unix(1_700_000_000, 123_456_789)
		data := archive(t,
			dirEntry("./").mode(0o700).owner(1, 2).at(odd),
			dirEntry("d/").mode(0o1777).owner(3, 4).at(odd),
			reg("d/f", "content").mode(0o4755).owner(5, 6).at(odd),
			hardlink("d/l", "d/f"),
			symlink("d/s", "../../etc/passwd").owner(7, 8).at(odd),
			hardlink("s2", "/d/s"),
			device("d/null", 1, 3).mode(0o666).owner(1, 1),
			entry{tar.Header{Typeflag: tar.TypeBlock, Name: "d/b", Devmajor: 0, Devminor: 0, Mode: 0o600}, ""},
			entry{tar.Header{Typeflag: tar.TypeFifo, Name: "d/p", Mode: 0o640}, ""}.owner(9, 9),
			reg("d/empty", "").at(time.Unix(-5, 500)),
			reg("new\nline", strings.Repeat("x", 3<<20+17)),
		)
		testenv.Tree(t, filepath.Join(dir, "want"),
			"dir . mode=0700 uid=1 gid=2 mtime=1700000000.123456789",
			"dir d mode=01777 uid=3 gid=4 mtime=1700000000.123456789",
			"file d/f content=content mode=04755 uid=5 gid=6 mtime=1700000000.123456789",
			"link d/l d/f",
			"symlink d/s -> ../../etc/passwd uid=7 gid=8 mtime=1700000000.123456789",
			"link s2 d/s",
			"char d/null 1:3 mode=0666 uid=1 gid=1",
			"block d/b 0:0 mode=0600",
			"fifo d/p mode=0640 uid=9 gid=9",
			"file d/empty mtime=-5.0000005",
			`file "new\nline" content=`+strings.Repeat("x", 3<<20+17),
		)
		out := mustApply(t, filepath.Join(dir, "got"), data)
		same(t, "tree", snapshot(t, filepath.Join(dir, "want")), snapshot(t, filepath.Join(dir, "got")))
		if out.Entries != 11 || out.Bytes != 7+3<<20+17 || out.Compression != layer.None || out.Digest != out.DiffID || out.Digest != digestOf(data) {
			t.Errorf("result %+v", out)
		}
	})
}
