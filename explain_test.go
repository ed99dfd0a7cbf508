package overlaydiff

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// Of every path that either view has, both engines say what the list of changes
// says of it, on random layers.
func TestExplain_Random(t *testing.T) {
	mounts := []string{"", "redirect_dir=on,metacopy=on", "index=on", "redirect_dir=on,metacopy=on,index=on", "userxattr", "redirect_dir=on"}
	seed, cases := rand.Uint64N(1<<48), uint64(len(mounts))
	if s, err := strconv.ParseUint(os.Getenv("OVERLAYDIFF_SEED"), 10, 64); err == nil {
		seed, cases = s, 1
	}
	t.Logf("seed %d", seed)
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for s := seed; s < seed+cases; s++ {
			options := mounts[s%uint64(len(mounts))]
			if strings.Contains(options, "userxattr") && !testenv.Has(t, fs, testenv.UserXattrMarks) {
				continue
			}
			c := testenv.Random(s, options)
			if explainAll(t, fs, c); t.Failed() {
				t.Fatalf("to repeat: OVERLAYDIFF_FS=%s OVERLAYDIFF_SEED=%d\n%s", fs, s, c)
			}
		}
	})
}

func explainAll(t *testing.T, on testenv.FS, c *testenv.Case) {
	t.Helper()
	dir := testenv.Scratch(t, on)
	o := testenv.Overlay{Lower: c.Lowers(t, dir), Upper: filepath.Join(dir, "upper"), Options: c.Options}
	merged := testenv.Mount(t, o)
	defer testenv.Unmount(t, merged)
	if err := testenv.Attempt(merged, c.Upper()); err != nil {
		t.Fatal(err)
	}
	stack, err := FromMount(t.Context(), merged)
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{"/": true, "/no such name": true}
	list := func(root string) {
		t.Helper()
		err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
			paths[path.Join("/", strings.TrimPrefix(p, root))] = true
			paths[path.Join("/", strings.TrimPrefix(p, root), "below")] = true
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	list(merged)
	options := slices.DeleteFunc(strings.Split(c.Options, ","), func(o string) bool { return strings.HasPrefix(o, "index=") })
	old := testenv.Mount(t, testenv.Overlay{Lower: append(slices.Clip(o.Lower), t.TempDir()), Options: strings.Join(options, ",")})
	defer testenv.Unmount(t, old)
	list(old)
	for _, choice := range []Choice{Native, Naive} {
		d, err := Open(t.Context(), stack, Options{Engine: choice})
		if err != nil {
			t.Fatal(err)
		}
		explainEach(t, d, paths)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// explainEach compares the explanations of all paths with the list of changes.
func explainEach(t *testing.T, d *Diff, paths map[string]bool) {
	t.Helper()
	changes := map[string]diff.Change{}
	for c, err := range d.Changes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		changes[c.Path] = c
	}
	for p := range changes {
		if !paths[p] {
			t.Errorf("%s: %q is listed, and in neither view", d.Engine(), p)
		}
	}
	for p := range paths {
		x, err := d.Explain(t.Context(), p)
		if err != nil {
			t.Errorf("%s: %q: %v", d.Engine(), p, err)
			continue
		}
		var want *diff.Change
		if c, ok := changes[p]; ok {
			want = &c
		} else if x.Old != nil && x.New == nil { // gone with what is listed
			for above := path.Dir(p); want == nil && above != "/"; above = path.Dir(above) {
				if c, ok := changes[above]; ok && c.Kind != diff.Add {
					want = &c
				}
			}
		}
		if diffs := cmp.Diff(want, x.Change); diffs != "" || x.Path != p {
			t.Errorf("%s: %q: change (-listed +explained):\n%s", d.Engine(), p, diffs)
		}
		checkExplanation(t, d.Engine(), x)
	}
}

// checkExplanation holds what is true of every explanation.
func checkExplanation(t *testing.T, engine string, x diff.Explanation) {
	t.Helper()
	var what []string
	for _, d := range x.Differences {
		if d.Old == d.New && d.What != "content" {
			t.Errorf("%s: %q: no difference: %+v", engine, x.Path, d)
		}
		if !slices.Contains(what, d.What) {
			what = append(what, d.What)
		}
	}
	if x.Change != nil && x.Change.Kind == diff.Modify && x.Change.Path == x.Path && !slices.Equal(what, x.Change.What.Names()) {
		t.Errorf("%s: %q: %q differ, of %v", engine, x.Path, what, x.Change.What)
	}
	if x.Change == nil && x.Path != "/" && len(what) > 0 {
		t.Errorf("%s: %q: %q differ, and it is no change", engine, x.Path, what)
	}
	if engine == string(Naive) {
		return
	}
	checkView(t, x, "old", x.Old, func(l diff.LayerAt) *diff.Place { return l.Old })
	checkView(t, x, "new", x.New, func(l diff.LayerAt) *diff.Place { return l.New })
}

// checkView makes sure that what a view shows is said to come from one layer.
func checkView(t *testing.T, x diff.Explanation, name string, shown *diff.Entry, in func(diff.LayerAt) *diff.Place) {
	t.Helper()
	if shown == nil {
		return
	}
	metadata, content := 0, 0
	for _, l := range x.Layers {
		p := in(l)
		if p == nil {
			continue
		}
		if p.Metadata {
			metadata++
			want := *shown
			want.Nlinks = p.Seen.Nlinks // of an index entry it is put right
			if d := cmp.Diff(want, *p.Seen); d != "" {
				t.Errorf("%s view of %q (-shown +in the layer):\n%s", name, x.Path, d)
			}
		}
		if p.Content {
			content++
		}
		if p.HiddenBy != nil && (p.Metadata || p.Content || p.Merged) {
			t.Errorf("%s view of %q: hidden, and shown: %+v", name, x.Path, p)
		}
	}
	wantContent := 0
	if shown.Type == diff.File {
		wantContent = 1
	}
	if metadata != 1 || content != wantContent {
		t.Errorf("%s view of %q: the metadata of %d layers, the content of %d: %+v", name, x.Path, metadata, content, x.Layers)
	}
}

// saw is what somebody sees at a path, as text.
func saw(t *testing.T, s *diff.Seen) string {
	t.Helper()
	if s == nil {
		return "nothing"
	}
	text := s.Type.String()
	switch s.Type {
	case diff.File:
		f, err := s.Payload.Open()
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(f.FD), "file")
		defer file.Close()
		content, err := io.ReadAll(file)
		if err != nil {
			t.Fatal(err)
		}
		text += " " + string(content)
	case diff.Symlink:
		target, err := s.Payload.Target()
		if err != nil {
			t.Fatal(err)
		}
		text += " " + target
	}
	xattrs, err := s.Payload.Xattrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range xattrs {
		text += " " + x.Name + "=" + string(x.Value)
	}
	if e, again, err := s.Payload.Again(); err != nil || e != s.Entry || again == nil {
		t.Errorf("again: %+v, %v; it was %+v", e, err, s.Entry)
	}
	return text
}

func TestLook(t *testing.T) {
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	s := diff.Stack{
		Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
		Features: diff.Features{RedirectFollow: true, Metacopy: true},
	}
	testenv.Tree(t, s.Lower[0], "file a content=old", "file dir/f content=moved", "file gone content=x", "file meta content=data", "symlink l -> a", "file sub/f content=x")
	s.Mountpoint = testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work, Options: "redirect_dir=on,metacopy=on"})
	testenv.Do(t, s.Mountpoint, "write a new", "setxattr a trusted.x=1", "rename dir moved", "unlink gone", "chmod meta 0600", "retarget l b", "rmtree sub", "create sub file")
	want := []string{
		"/: dir, dir", "/a: file old, file oldnew trusted.x=1", "/dir: dir, nothing", "/dir/f: file moved, nothing", "/moved/f: nothing, file moved",
		"/gone: file x, nothing", "/meta: file data, file data", "/l: symlink a, symlink b", "/sub: dir, file file", "/sub/f: file x, nothing",
		"/l/x: nothing, nothing", "/no/such: nothing, nothing",
	}
	for _, engine := range []Choice{Native, Naive} {
		d, err := Open(t.Context(), s, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, line := range want {
			path, _, _ := strings.Cut(line, ":")
			err := d.Look(t.Context(), path, func(from, to *diff.Seen) error {
				got = append(got, path+": "+saw(t, from)+", "+saw(t, to))
				return nil
			})
			if err != nil {
				t.Errorf("%s: %s: %v", engine, path, err)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", engine, d)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
