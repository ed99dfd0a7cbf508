package overlaydiff

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// idMaps are maps of random id-mapped layers.
var idMaps = []string{
	"0:100000:65536",
	"0:1000:1,1:200000:999,1000:0:1,1001:300000:1000", // the container's 1000 is the host's root
	"0:1:2000",            // overlaps with the host's
	"0:0:1,1:100000:1001", // root is root
	"0:400000:1001,1001:9:1",
}

// Random overlays whose lower layers are id-mapped: both engines against the reference
// on the mount, with the layers described by their maps and by where they are mounted.
func TestRandom_IDMapped(t *testing.T) {
	difftest.RunRandom(t, difftest.RandomOptions{IDMaps: idMaps},
		map[string]difftest.Opener{"native": opener(Native), "naive": opener(Naive), "auto": opener(Auto)})
}

// Their layers, replayed in several ways. Kernels that do not map access control lists show
// ids in them of which it can't be known whose they are.
func TestLayers_RandomIDMapped(t *testing.T) {
	needs := []testenv.Need{testenv.MappedACLs}
	difftest.RunRandom(t, difftest.RandomOptions{Cases: 15, IDMaps: idMaps, Needs: needs, Checks: map[string]difftest.Check{"layer": checkLayer}}, nil)
}

// container is a mounted overlay with one id-mapped lower layer, as a runtime leaves it: the
// mapped mount is gone.
type container struct {
	lower, upper, merged string
	ids                  diff.IDMap
}

func newContainer(t *testing.T, fs testenv.FS, lower ...string) container {
	t.Helper()
	dir := testenv.Scratch(t, fs)
	c := container{lower: dir + "/lower", upper: dir + "/upper"}
	c.ids.Users = []diff.IDRange{{Container: 0, Host: 100000, Size: 1000}}
	c.ids.Groups = c.ids.Users
	testenv.Tree(t, c.lower, lower...)
	point := testenv.IDMapped(t, fs, c.lower, "0:100000:1000")
	c.merged = testenv.Mount(t, testenv.Overlay{Lower: []string{point}, Upper: c.upper})
	testenv.Unmount(t, point)
	return c
}

// A mount whose lower layer is id-mapped is no answer unless it is known how: the directory
// is found, and its owners contradict what the mount shows, or prove nothing.
func TestFromMount_IDMapped(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for _, ops := range [][]string{
			{"chmod f 600"}, // d is a witness
			{"chmod f 600", "chmod d 700", "open d/g", "chmod . 755"},
		} {
			c := newContainer(t, fs, "file f uid=5", "file d/g")
			testenv.Do(t, c.merged, ops...)
			s, err := FromMount(t.Context(), c.merged)
			var owners *mountutil.OwnersError
			if !errors.As(err, &owners) {
				if errors.As(err, new(*mountutil.LayerError)) && !tellsHandles(c.merged) {
					continue // before 6.6 the directory is not found
				}
				t.Fatalf("%v: got %v, %v", ops, s, err)
			}
			if owners.Copied != (len(ops) > 1) || owners.ShownUID != owners.UID+100000 {
				t.Errorf("%v: %+v", ops, owners)
			}
			s.Owners = map[string]diff.IDMap{s.Lower[0]: {Users: []diff.IDRange{{Host: 7, Size: 100}}}}
			if err := mountutil.CheckOwners(s); len(ops) == 1 && !errors.As(err, &owners) {
				t.Errorf("%v: another map passes: %v", ops, err)
			}
			s.Owners = map[string]diff.IDMap{s.Lower[0]: c.ids}
			if err := mountutil.CheckOwners(s); err != nil {
				t.Errorf("%v: %v", ops, err)
			}
			for _, engine := range []Choice{Native, Naive} {
				got, err := asked(t, s, Options{Engine: engine})
				if err != nil {
					t.Fatal(err)
				}
				want := []string{"C /f"}
				if len(ops) > 1 {
					want = []string{"C /d", "C /f"}
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s, %v (-want +got):\n%s", engine, ops, d)
				}
			}
		}
	})
}

// Of a layer that is mounted from where its name leads, and of which the mount shows nothing
// but a directory that was given another owner, an id map is possible and unlikely: it is
// answered for, as not proven.
func TestFromMount_Chowned(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := testenv.Scratch(t, fs)
		testenv.Tree(t, dir+"/l1", "file d/f content=new")
		testenv.Tree(t, dir+"/l2", "file d/f content=old")
		merged := testenv.Mount(t, testenv.Overlay{Lower: []string{dir + "/l1", dir + "/l2"}, Upper: dir + "/upper"})
		testenv.Do(t, merged, "unlink d/f", "chown d 100000:100000")
		s, err := FromMount(t.Context(), merged)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(s.Unproven, dir+"/l1") {
			t.Errorf("unproven: %q", s.Unproven)
		}
		for _, engine := range []Choice{Native, Naive} {
			got, err := changesOf(t.Context(), s, engine)
			want := []string{"C /d uid,gid", "D /d/f "}
			if d := cmp.Diff(want, got); d != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", engine, err, d)
			}
		}
	})
}

// In a layer, owners are the container's, as a program in its user namespace sees them; an
// owner without an id there is an error, or left out.
func TestExport_ContainerOwners(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		c := newContainer(t, fs, "file f uid=5", "file d/g", "file host uid=1", "file dir/x")
		testenv.Do(t, c.merged, "chmod f 600", "create new x", "chown new 100007:100008", "create d/h x", "chown d/h 100000:100000", "acl d/h 100009:7", "mkdir e", "chown e 100001:100001", "create e/in x", "chown e/in 100002:100002")
		s := diff.Stack{Lower: []string{c.lower}, Upper: c.upper, Owners: map[string]diff.IDMap{c.lower: c.ids}, Container: c.ids}
		for _, engine := range []Choice{Native, Naive} {
			d, err := Open(t.Context(), s, Options{Engine: engine})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			got := owners(t, d, layer.ExportOptions{})
			if diff := cmp.Diff(inside(t, c, slices.Collect(keys(got))), got); diff != "" {
				t.Errorf("%s (-in the container +in the layer):\n%s", engine, diff)
			}
			v, err := d.Verify(t.Context(), VerifyOptions{})
			if err != nil || !v.Equal {
				t.Errorf("%s: verify: %+v, %v", engine, v, err)
			}
			host, err := Open(t.Context(), s, Options{Engine: engine, Owners: OwnersHost})
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close()
			if got := owners(t, host, layer.ExportOptions{})["new"]; got != "100007:100008" {
				t.Errorf("%s: the host's owner is %s", engine, got)
			}
		}
		// What root of the host makes has an owner that the container has no id for.
		testenv.Do(t, c.merged, "chown host 0:0", "mkdir dir/sub", "create dir/sub/f x", "chown dir/sub/f 100000:100000", "create e/out x")
		for _, engine := range []Choice{Native, Naive} {
			d, err := Open(t.Context(), s, Options{Engine: engine})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			var no *layer.UnmappedError
			if _, err := d.Export(t.Context(), new(bytes.Buffer), layer.ExportOptions{}); !errors.As(err, &no) || no.Path != "/dir/sub" && no.Path != "/e/out" && no.Path != "/host" || no.ID != 0 {
				t.Errorf("%s: %v", engine, err)
			}
			var lacks []string
			var b bytes.Buffer
			done, err := d.Export(t.Context(), &b, layer.ExportOptions{SkipUnmapped: true, OnLack: func(l layer.Lack) { lacks = append(lacks, l.Path) }})
			slices.Sort(lacks)
			if want := []string{"/dir/sub", "/e/out", "/host"}; err != nil || done.Unmapped != 3 || !slices.Equal(lacks, want) {
				t.Errorf("%s: %+v, %v, left out %q", engine, done, err, lacks)
			}
			if !bytes.Contains(b.Bytes(), []byte(".wh.host")) {
				t.Errorf("%s: the old file comes back", engine)
			}
			v, err := d.Verify(t.Context(), VerifyOptions{Export: layer.ExportOptions{SkipUnmapped: true}})
			if err != nil || !v.Equal {
				t.Errorf("%s: verify: %+v, %v", engine, v, err)
			}
		}
		x, err := Open(t.Context(), s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		e, err := x.Explain(t.Context(), "/host")
		if err != nil || e.Owners != "container" || e.Old.UID != 1 || !slices.Equal(e.Unmapped, []uint32{0}) {
			t.Errorf("explain: %+v, %v", e, err)
		}
	})
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// owners returns the owners in a layer, by name, whiteouts excepted.
func owners(t *testing.T, d *Diff, opts layer.ExportOptions) map[string]string {
	t.Helper()
	var b bytes.Buffer
	if _, err := d.Export(t.Context(), &b, opts); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for h, err := range headers(&b) {
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || !strings.Contains(h.Name, ".wh.") {
			found[filepath.Clean(h.Name)] = fmt.Sprintf("%d:%d", h.Uid, h.Gid)
		}
	}
	return found
}

// inside returns the owners that a process in the container's user namespace sees.
func inside(t *testing.T, c container, names []string) map[string]string {
	t.Helper()
	if err := os.Chmod(filepath.Dir(c.merged), 0o711); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, name := range names {
		cmd := exec.CommandContext(t.Context(), "stat", "-c", "%u:%g", name)
		cmd.Dir = c.merged
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 1000}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", cmd, err)
		}
		seen[name] = strings.TrimSpace(string(out))
	}
	return seen
}

// One inode that the upper layer and an id-mapped lower one have by a hard link has two
// owners. Two trees that are one directory by two mounts have, too.
func TestHardLink_IDMapped(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := testenv.Scratch(t, fs)
		lower, upper := dir+"/lower", dir+"/upper"
		testenv.Tree(t, lower, "file f content=x", "file g content=x")
		testenv.Tree(t, upper)
		if err := os.Link(lower+"/f", upper+"/f"); err != nil {
			t.Fatal(err)
		}
		testenv.Tree(t, dir+"/other")
		point := testenv.IDMapped(t, fs, lower, "0:100000:1000")
		ids := diff.IDMap{Users: []diff.IDRange{{Host: 100000, Size: 1000}}, Groups: []diff.IDRange{{Host: 100000, Size: 1000}}}
		ask := func(d *Diff, err error) (got []string) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			for c, err := range d.Changes(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, c.String()+" "+c.What.String())
			}
			return got
		}
		for _, s := range []diff.Stack{
			{Lower: []string{point, dir + "/other"}, Upper: upper},
			{Lower: []string{lower, dir + "/other"}, Upper: upper, Owners: map[string]diff.IDMap{lower: ids}},
		} {
			for _, engine := range []Choice{Native, Naive} {
				if got := ask(Open(t.Context(), s, Options{Engine: engine})); !slices.Equal(got, []string{"C /f uid,gid"}) {
					t.Errorf("%s, %v: %q", engine, s.Owners, got)
				}
			}
		}
		if got := ask(OpenTrees(t.Context(), lower, point, Options{})); !slices.Equal(got, []string{"C /f uid,gid", "C /g uid,gid"}) {
			t.Errorf("two mounts of one directory: %q", got)
		}
	})
}
