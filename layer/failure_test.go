package layer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// onto is a layer that changes the tree of base in all ways.
func onto(t *testing.T) []byte {
	t.Helper()
	return archive(t,
		dirEntry("a").mode(0o700), reg("a/f", "new").owner(1, 1), hardlink("a/g", "a/f"), reg("a/.wh.gone", ""),
		reg("big", strings.Repeat("0123456789abcdef", 100_000)),
		reg("b", "file for a directory"), dirEntry("c"), symlink("c/l", "../a"), reg("c/l/below", "x"),
		reg("o/mine", ""), reg("o/.wh..wh..opq", ""), device("dev", 1, 3),
		dirEntry("late"), reg("late/f", "x"), dirEntry("a").mode(0o750),
	)
}

var base = []string{
	"file a/f content=old", "file a/gone", "file a/stays", "file b/x/y", "file c content=a-file", "file o/theirs", "file o/sub/theirs",
	"symlink late -> a", "dir . mtime=55", "file unlisted/f mtime=5", "dir unlisted mtime=77",
}

var errTest = errors.New("the source fails")

// After a failure anywhere, the same layer again makes the right tree.
func TestApply_Again(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	data := onto(t)
	want := filepath.Join(dir, "want")
	testenv.Tree(t, want, base...)
	mustApply(t, want, data)
	expected := snapshot(t, want)
	for i, at := 0, 0; at < len(data); i, at = i+1, at+512*(1+at/20000) {
		root := filepath.Join(dir, fmt.Sprint(i))
		testenv.Tree(t, root, base...)
		r := io.MultiReader(bytes.NewReader(data[:at]), iotest.ErrReader(errTest))
		out, err := layer.Apply(t.Context(), r, root, layer.ApplyOptions{Form: layer.Plain})
		var failed *layer.ApplyError
		if !errors.Is(err, errTest) || !errors.As(err, &failed) {
			t.Fatalf("at %d: %v", at, err)
		}
		if !reflect.DeepEqual(failed.Applied, out) || failed.Dir != root {
			t.Errorf("at %d: %+v, %+v", at, failed, out)
		}
		if at < 512 == failed.Left { // before the first entry nothing is changed
			t.Errorf("at %d: %+v", at, failed)
		}
		mustApply(t, root, data)
		same(t, fmt.Sprintf("after a failure at %d", at), expected, snapshot(t, root))
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
	}
}

// A layer that is cut off is an error, wherever the cut is, and nothing of it is
// left. Of 0 bytes nobody can tell: they are a layer that changes nothing, unless a
// digest says otherwise.
func TestApply_CutOff(t *testing.T) {
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	whole := archive(t, dirEntry("d"), reg("d/f", "some content"), symlink("l", "d"), reg("e", ""))
	for _, c := range []layer.Compression{layer.None, layer.Gzip, layer.Zstd} {
		data := compress(t, c, whole)
		step := 1
		if c == layer.None {
			step = 64
		}
		root := filepath.Join(dir, string(c))
		for n := 1; n < len(data)-1; n += step {
			if c == layer.None && n > len(data)-1024 {
				break // in the last block of zeros
			}
			_, err := apply(t, root, data[:n])
			if err == nil {
				t.Errorf("%s cut off at %d of %d is taken for whole", c, n, len(data))
			}
			if _, err := os.Lstat(root); err == nil {
				t.Fatalf("%s cut off at %d: something is left", c, n)
			}
		}
		mustApply(t, root, data)
	}
	if _, err := apply(t, filepath.Join(dir, "nothing"), nil, func(o *layer.ApplyOptions) { o.DiffID = digestOf(whole) }); err == nil {
		t.Error("nothing has the digest of a layer")
	}
	noMark := whole[:len(whole)-1024]
	if _, err := apply(t, filepath.Join(dir, "nomark"), noMark); err == nil || !strings.Contains(err.Error(), "no end mark") {
		t.Errorf("without the end mark: %v", err)
	}
	for _, c := range []layer.Compression{layer.Gzip, layer.Zstd} { // whose end is marked
		mustApply(t, filepath.Join(dir, "nomark-"+string(c)), compress(t, c, noMark))
		parts := append(compress(t, c, noMark[:1024]), compress(t, c, noMark[1024:])...)
		if _, err := apply(t, filepath.Join(dir, "parts"), parts); err == nil || !strings.Contains(err.Error(), "no end mark") {
			t.Errorf("%s of two parts, without the end mark: %v", c, err)
		}
	}
	mustApply(t, filepath.Join(dir, "nomark"), noMark, func(o *layer.ApplyOptions) { o.DiffID = digestOf(noMark) })
}

func TestApply_Digests(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	data := archive(t, reg("f", "x"))
	data = append(data, make([]byte, 100_000)...) // what follows the end counts
	for _, c := range []layer.Compression{layer.None, layer.Gzip, layer.Zstd} {
		packed := compress(t, c, data)
		raw, diffID := digestOf(packed), digestOf(data)
		root := filepath.Join(dir, string(c))
		out := mustApply(t, root, packed, func(o *layer.ApplyOptions) { o.Digest, o.DiffID = raw, diffID })
		if out.Digest != raw || out.DiffID != diffID || out.Compression != c {
			t.Errorf("%s: %+v", c, out)
		}
		long := digest.SHA512.FromBytes(packed)
		if out := mustApply(t, root, packed, func(o *layer.ApplyOptions) { o.Digest, o.DiffID = long, diffID }); out.Digest != long || out.DiffID != diffID {
			t.Errorf("%s: %+v", c, out)
		}
		if out := mustApply(t, root, packed, func(o *layer.ApplyOptions) { o.NoDigests = true }); out.Digest != "" || out.DiffID != "" {
			t.Errorf("%s: digests that nobody wants: %+v", c, out)
		}
		for _, wrong := range []func(o *layer.ApplyOptions){
			func(o *layer.ApplyOptions) { o.Digest = digestOf(nil) },
			func(o *layer.ApplyOptions) { o.DiffID = digestOf(nil) },
			func(o *layer.ApplyOptions) { o.Digest, o.NoDigests = digestOf(nil), true },
			func(o *layer.ApplyOptions) { o.DiffID, o.NoDigests = digestOf(nil), true },
		} {
			fresh := filepath.Join(dir, "fresh")
			_, err := apply(t, fresh, packed, wrong)
			var de *layer.DigestError
			if !errors.As(err, &de) || de.Want != digestOf(nil) || de.Got != raw && de.Got != diffID || !strings.Contains(err.Error(), "nothing of it is left") {
				t.Errorf("%s: %v", c, err)
			}
			if _, err := os.Lstat(fresh); err == nil {
				t.Errorf("%s: a wrong layer is there", c)
			}
			if _, err = apply(t, root, packed, wrong); !strings.Contains(err.Error(), "incomplete") {
				t.Errorf("%s in place: %v", c, err)
			}
		}
	}
	if _, err := apply(t, dir, data, func(o *layer.ApplyOptions) { o.Digest = "sha256:short" }); err == nil {
		t.Error("an invalid digest is taken")
	}
}

// stopAfter cancels a context when so much was read.
type stopAfter struct {
	io.Reader
	n    int
	stop func()
}

func (s *stopAfter) Read(b []byte) (int, error) {
	if s.n--; s.n == 0 {
		s.stop()
	}
	return s.Reader.Read(b[:min(len(b), 4096)])
}

func TestApply_Canceled(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	data := archive(t, reg("f", strings.Repeat("x", 8<<20)), reg("g", ""))
	before := testenv.TakeInventory()
	for n := 1; n < 2000; n += 97 {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := layer.Apply(ctx, &stopAfter{bytes.NewReader(data), n, cancel}, filepath.Join(dir, "r"), layer.ApplyOptions{Form: layer.Plain})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after %d reads: %v", n, err)
		}
		if names, _ := os.ReadDir(dir); len(names) > 0 {
			t.Fatalf("left: %v", names)
		}
	}
	if err := before.Leaks(); err != nil {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// What follows the end of the archive, or content that is skipped, is not read
// any longer than the context lasts.
func TestApply_CanceledInEndlessInput(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	huge := plain(t, reg(".wh.a", ""))
	copy(huge[124:], "77777777777\x00")
	checksum(huge)
	for name, data := range map[string][]byte{"after the end": archive(t, reg("f", "")), "content of a whiteout": huge[:512]} {
		ctx, cancel := context.WithCancel(t.Context())
		r := &stopAfter{io.MultiReader(bytes.NewReader(data), endless{}), 5000, cancel}
		if _, err := layer.Apply(ctx, r, filepath.Join(dir, "r"), layer.ApplyOptions{Form: layer.Plain}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type panics struct{ io.Reader }

func (p panics) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if err == io.EOF {
		panic("no reader")
	}
	return n, err
}

// A reader that panics does so in the caller's goroutine, and nothing is left.
func TestApply_Panic(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	data := archive(t, reg("f", strings.Repeat("x", 4<<20)))
	before := testenv.TakeInventory()
	for _, n := range []int{0, 700, 1 << 20, 3 << 20} {
		got := func() (got any) {
			defer func() { got = recover() }()
			_, err := layer.Apply(t.Context(), panics{bytes.NewReader(data[:n])}, filepath.Join(dir, "r"), layer.ApplyOptions{Form: layer.Plain})
			return err
		}()
		if got != "no reader" {
			t.Errorf("at %d: got %v", n, got)
		}
		if names, _ := os.ReadDir(dir); len(names) > 0 {
			t.Fatalf("left: %v", names)
		}
	}
	if err := before.Leaks(); err != nil {
		t.Error(err)
	}
}

// A full file system: the error says how far it came and what to do, and what was
// staged is gone.
func TestApply_NoSpace(t *testing.T) {
	testenv.RequireRoot(t)
	small := testenv.Scratch(t, testenv.Tmpfs)
	bytesLayer := archive(t, reg("a", strings.Repeat("x", 500_000)), reg("b", strings.Repeat("x", 800_000)))
	var many []entry
	for i := range 40 {
		many = append(many, reg(fmt.Sprint("f", i), "x"))
	}
	for name, c := range map[string]struct {
		data []byte
		to   string
		says string
	}{
		"bytes staged":   {bytesLayer, "staged", "nothing of it is left"},
		"inodes staged":  {archive(t, many...), "staged", "nothing of it is left"},
		"bytes in place": {bytesLayer, "full", "the tree is incomplete"},
		"mount point":    {bytesLayer, "", "nothing of it is left"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=1m,nr_inodes=20"); err != nil {
				t.Fatal(err)
			}
			defer testenv.Unmount(t, small)
			if c.to == "full" {
				testenv.Tree(t, filepath.Join(small, "full"), "file there")
			}
			_, err := apply(t, filepath.Join(small, c.to), c.data)
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "make room") {
				t.Errorf("error %v", err)
			}
			if got := brief(t, small); c.to != "full" && got != "" {
				t.Errorf("left: %s", got)
			}
		})
	}
}

// A directory that exists keeps its metadata when it is replaced; a mount point is
// filled in place.
func TestApply_Stage(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Ext4)
	data := archive(t, reg("f", "x"))
	there := filepath.Join(dir, "there")
	testenv.Tree(t, there, "dir . mode=0711 uid=3 gid=4 mtime=99.5 xattr.user.k=v xattr.trusted.k=w")
	before := snapshot(t, there)
	mustApply(t, there, data)
	same(t, "an empty directory", before, snapshot(t, there)[:1])

	testenv.Tree(t, filepath.Join(dir, "real"))
	testenv.Tree(t, dir, "symlink link -> real", "symlink dangling -> nothing", "file file")
	mustApply(t, filepath.Join(dir, "link"), data)
	if brief(t, filepath.Join(dir, "real")) != "f=x" {
		t.Error("a symbolic link to the directory was not followed")
	}
	for _, wrong := range []string{"dangling", "file", "no/such/parent"} {
		if _, err := apply(t, filepath.Join(dir, wrong), data); err == nil {
			t.Errorf("applied to %s", wrong)
		}
	}

	stale := filepath.Join(dir, ".overlaydiff-apply-1")
	testenv.Tree(t, stale, "file tree/f")
	used := filepath.Join(dir, ".overlaydiff-apply-2")
	testenv.Tree(t, used, "file tree/f")
	f, err := os.Open(used)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	mustApply(t, filepath.Join(dir, "sweeps"), data)
	if _, err := os.Lstat(stale); err == nil {
		t.Error("what a killed run left is still there")
	}
	if _, err := os.Lstat(used); err != nil {
		t.Errorf("what another run uses: %v", err)
	}
}

// What is mounted in the tree is not of the tree: no entry goes there and no
// whiteout empties it.
func TestApply_Mounts(t *testing.T) {
	root := testenv.Scratch(t, testenv.Ext4)
	point := filepath.Join(root, "d/m")
	testenv.Tree(t, root, "dir d/m", "symlink l -> d/m", "file f")
	if err := syscall.Mount("tmpfs", point, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer testenv.Unmount(t, point)
	testenv.Tree(t, point, "file precious content=x mtime=5", "dir . mtime=6")
	before := snapshot(t, point)
	for _, e := range []entry{
		reg("d/m/f", ""), reg("l/f", ""), reg("d/m/.wh.precious", ""), reg("d/m/.wh..wh..opq", ""), dirEntry("d/m"),
		reg(".wh.d", ""), reg("d/.wh.m", ""), reg("d", ""), reg("d/.wh..wh..opq", ""), reg(".wh..wh..opq", ""), hardlink("x", "d/m/precious"),
	} {
		if _, err := apply(t, root, archive(t, e)); err == nil || !strings.Contains(err.Error(), "mounted") && !errors.Is(err, syscall.EXDEV) {
			t.Errorf("%s: %v", e.Name, err)
		}
		same(t, e.Name, before, snapshot(t, point))
	}
}

func TestApply_WrongOptions(t *testing.T) {
	for _, o := range []layer.ApplyOptions{
		{Digest: "none"}, {Form: "tree"}, {Form: layer.Plain, Xattrs: "some"}, {Form: layer.Overlay, Whiteouts: "block"},
	} {
		if _, err := layer.Apply(t.Context(), strings.NewReader(""), t.TempDir(), o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// A device that is left out replaces what is there all the same.
func TestApply_SkipDevices(t *testing.T) {
	root := testenv.Scratch(t, testenv.Tmpfs)
	testenv.Tree(t, root, "file null", "file f")
	out := mustApply(t, root, archive(t, device("null", 1, 3), reg("g", "")), func(o *layer.ApplyOptions) { o.SkipDevices = true })
	if got := brief(t, root); got != "f g" || out.Skipped != 1 {
		t.Errorf("got %s, %+v", got, out)
	}
}
