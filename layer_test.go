package overlaydiff

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// exported returns the layer that an engine makes of a case.
func exported(tb testing.TB, v difftest.View, engine Choice, opts layer.ExportOptions) (difftest.Layer, layer.Exported, error) {
	var l difftest.Layer
	d, err := Open(tb.Context(), v.Stack, Options{Engine: engine})
	if err != nil {
		return l, layer.Exported{}, err
	}
	defer d.Close()
	opts.SkipReserved = true
	opts.OnLack = func(lack layer.Lack) { l.Lacks = append(l.Lacks, lack.Path) }
	var b bytes.Buffer
	done, err := d.Export(tb.Context(), &b, opts)
	l.Archive = b.Bytes()
	if err == nil && d.Raced() > 0 {
		err = fmt.Errorf("%d races where nothing runs", d.Raced())
	}
	return l, done, err
}

// applied applies a layer to a plain tree.
func applied(ctx context.Context) func(io.Reader, string) error {
	return func(r io.Reader, dir string) error {
		_, err := layer.Apply(ctx, r, dir, layer.ApplyOptions{KeepMarks: true})
		return err
	}
}

// checkLayerDir makes a layer directory of a layer, and mounts it over the others.
func checkLayerDir(tb testing.TB, v difftest.View, l difftest.Layer) error {
	dir := filepath.Join(v.Dir, "applied")
	defer os.RemoveAll(dir)
	o := layer.ApplyOptions{Form: layer.Overlay, UserXattr: v.Stack.Features.UserXattr}
	if _, err := layer.Apply(tb.Context(), bytes.NewReader(l.Archive), dir, o); err != nil {
		return err
	}
	s := v.Stack
	s.Lower = append([]string{dir}, s.Lower...)
	view, err := mountutil.OpenView(tb.Context(), s, mountutil.Old)
	if err != nil {
		return err
	}
	defer view.Close()
	return l.Compare(fmt.Sprintf("/proc/self/fd/%d/.", view.FD()), v.New)
}

// checkVerify has a case verify itself.
func checkVerify(tb testing.TB, v difftest.View) error {
	for _, engine := range []Choice{Native, Naive} {
		d, err := Open(tb.Context(), v.Stack, Options{Engine: engine})
		if err != nil {
			return err
		}
		done, err := d.Verify(tb.Context(), VerifyOptions{TempDir: v.Dir, Export: layer.ExportOptions{SkipReserved: true}})
		if err := errors.Join(err, d.Close()); err != nil {
			return fmt.Errorf("%s: %w", engine, err)
		}
		if !done.Equal {
			return fmt.Errorf("%s: %+v", engine, done)
		}
	}
	return nil
}

// checkLayer makes layers of a case in several ways and replays them.
func checkLayer(tb testing.TB, v difftest.View) error {
	l, _, err := exported(tb, v, Native, layer.ExportOptions{})
	if err != nil {
		return fmt.Errorf("native: %w", err)
	}
	opaque, _, err := exported(tb, v, Native, layer.ExportOptions{Opaque: true})
	if err != nil {
		return fmt.Errorf("opaque: %w", err)
	}
	for name, l := range map[string]difftest.Layer{"explicit": l, "opaque": opaque} {
		if err := v.Replay(tb.Context(), l, applied(tb.Context())); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if l.HasDefaultACL() || len(l.Lacks) > 0 { // GNU tar leaves what is made below with the ACL that it inherits
			continue
		}
		if err := v.Replay(tb.Context(), l, difftest.GNUTar(tb.Context())); err != nil {
			return fmt.Errorf("%s, by GNU tar: %w", name, err)
		}
	}
	if err := checkLayerDir(tb, v, l); err != nil {
		return fmt.Errorf("as overlay: %w", err)
	}
	if err := checkVerify(tb, v); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	same, _, err := exported(tb, v, Naive, layer.ExportOptions{})
	if err != nil {
		return fmt.Errorf("naive: %w", err)
	}
	if !bytes.Equal(l.Archive, same.Archive) {
		return fmt.Errorf("the engines make different layers:\n%s", difftest.CompareLayers(l, same))
	}
	return nil
}

func TestLayers(t *testing.T) {
	difftest.RunChecks(t, map[string]difftest.Check{"layer": checkLayer})
}

func TestLayers_Random(t *testing.T) {
	difftest.RunRandom(t, difftest.RandomOptions{Checks: map[string]difftest.Check{"layer": checkLayer}}, nil)
}

// streamed opens a diff of a large file and what else lines say.
func streamed(t *testing.T, engine Choice, lines ...string) *Diff {
	t.Helper()
	dir := testenv.Scratch(t, testenv.Tmpfs)
	lower, upper := filepath.Join(dir, "lower"), filepath.Join(dir, "upper")
	testenv.Tree(t, lower, "file d/old")
	testenv.Tree(t, upper, append(lines, "file d/large size=9000000", "file d/z")...)
	d, err := Open(t.Context(), diff.Stack{Lower: []string{lower}, Upper: upper}, Options{Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// The stream has the bytes that Export writes, several at once as well; wherever it is
// closed, and however often, nothing is left.
func TestLayer(t *testing.T) {
	for _, engine := range []Choice{Native, Naive} {
		d := streamed(t, engine)
		var want bytes.Buffer
		if _, err := d.Export(t.Context(), &want, layer.ExportOptions{}); err != nil {
			t.Fatal(err)
		}
		before := testenv.TakeInventory()
		open := []io.ReadCloser{d.Layer(t.Context(), layer.ExportOptions{}), d.Layer(t.Context(), layer.ExportOptions{})}
		for _, r := range open {
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%s: the stream has %d bytes and ends with %v, Export wrote %d", engine, len(got), err, want.Len())
			}
		}
		for _, bytes := range []int64{0, 1, 5_000_000} {
			r := d.Layer(t.Context(), layer.ExportOptions{})
			if _, err := io.CopyN(io.Discard, r, bytes); err != nil {
				t.Error(err)
			}
			open = append(open, r)
		}
		for _, r := range append(open, open...) {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := open[len(open)-1].Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("%s: a closed stream that was not at its end reads on with %v", engine, err)
		}
		if err := before.Leaks(); err != nil {
			t.Errorf("%s: %v", engine, err)
		}
	}
}

// A layer that can't be written whole never looks whole.
func TestLayer_Fails(t *testing.T) {
	d := streamed(t, Native, "file d/.wh.x")
	r := d.Layer(t.Context(), layer.ExportOptions{})
	defer r.Close()
	var reserved *layer.ReservedError
	if _, err := io.Copy(io.Discard, r); !errors.As(err, &reserved) || reserved.Path != "/d/.wh.x" {
		t.Errorf("of a name that can't be carried: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r = d.Layer(ctx, layer.ExportOptions{SkipReserved: true})
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, 1000); err != nil {
		t.Error(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("of a canceled one: %v", err)
	}
}

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

// TestExport_SameEverywhere: changes with numbers of every width, and deletions, give one layer on
// every architecture. Applied there, it gives a tree whose layer is the same again. make test-arch
// runs this on several; they agree because each gives these digests.
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
	before, tree := filepath.Join(dir, "before"), filepath.Join(dir, "tree")
	old := []string{"file kept content=k", "file gone content=g", "dir dead", "file dead/f content=f", "dir s", "file s/f content=f", "file d content=d"}
	testenv.Tree(t, before, old...)
	testenv.Tree(t, tree, "file kept content=k",
		"dir d mode=02775 uid=1 gid=70000 mtime=1.5", "file d/f content=x mode=04711 uid=3000000000 gid=4294967294 mtime=-1.5",
		"link d/g d/f", "symlink s -> d/../nowhere uid=5 mtime=5000000000.123456789", "char c 300:70000 mode=0640", "block b 7:300", "fifo p gid=9",
		fmt.Sprintf("file cap mode=0755 xattr.security.capability=%q", capability), fmt.Sprintf("file acl xattr.system.posix_acl_access=%q", accessList),
		"file x xattr.trusted.k=v", `file "odd\n\xff name" content="\x00\x01"`, "file sparse content=start size=300000", "file later mtime=9000000000")
	for c, want := range map[layer.Compression]string{
		layer.None: "1f2020b03ef558e2e48a0e66bb5cfb752fb7814874397a596948cedc608607fd",
		layer.Gzip: "509abc316db352aa53028eb6407bcb9ae197ed30681f0ae50b17d026997c76d1",
		layer.Zstd: "0f816234d28ba71fe86356dcc7abc78b598b70909c1e8f55582691386fd3b2a6",
	} {
		again := filepath.Join(dir, "again-"+string(c))
		testenv.Tree(t, again, old...)
		data := layerOf(t, before, tree, c)
		if _, err := layer.Apply(t.Context(), bytes.NewReader(data), again, layer.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		for from, data := range map[string][]byte{"the tree": data, "what was applied": layerOf(t, before, again, c)} {
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
