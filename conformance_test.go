package overlaydiff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(rootCaseEnv); name != "" {
		os.Exit(rootCaseChild(name))
	}
	if os.Getenv(applyEnv) != "" {
		os.Exit(applyInside())
	}
	if os.Getenv(idleEnv) != "" {
		os.Exit(idle())
	}
	testenv.Main(m)
}

// opener opens the engine that the facade takes for a choice.
func opener(choice Choice) difftest.Opener {
	return func(ctx context.Context, _ testing.TB, s diff.Stack) (diff.Engine, error) {
		d, err := Open(ctx, s, Options{Engine: choice})
		if err != nil {
			return nil, err
		}
		return d.engine, nil
	}
}

func TestConformance(t *testing.T) {
	for _, choice := range []Choice{Native, Naive, Auto} {
		t.Run(string(choice), func(t *testing.T) { difftest.Run(t, opener(choice)) })
	}
}

func TestRandom(t *testing.T) {
	engines := map[string]difftest.Opener{"native": opener(Native), "naive": opener(Naive), "auto": opener(Auto)}
	contents := map[string]diff.Content{}
	for _, choice := range []Choice{Native, Naive} {
		for _, content := range []diff.Content{diff.ContentAlways, diff.ContentNever} {
			name := fmt.Sprintf("%s --content=%s", choice, content)
			engines[name], contents[name] = opener(choice), content
		}
	}
	difftest.RunRandom(t, difftest.RandomOptions{Contents: contents}, engines)
}

// What the kernel's lookup makes of marks in the upper layer, it may not make of them in the
// mount of the naive engine, where that is a lower one. Which of them differ depends on the
// kernel: the mount says what is right, and without one the engine has to refuse.
func TestNaive_UpperMarks(t *testing.T) {
	for name, test := range map[string]struct {
		options, upper, look string
		errno                syscall.Errno // where it is an error
		differs              bool          // in the naive engine's mount, where it is an error; else where it is none
		mark                 func(merged, upper string) error
		want                 []string // where it is none
	}{
		"a redirect that is not followed": { // an error since 6.16, before only in a lower layer
			options: "redirect_dir=nofollow", look: "e", errno: syscall.EPERM,
			upper: "dir e xattr.trusted.overlay.redirect=nowhere; file e/g; dir d/n/m xattr.trusted.overlay.redirect=/nowhere",
			want:  []string{"A /d/n", "A /d/n/m", "A /e", "A /e/g"},
		},
		"an origin of another type": { // an error before 5.15, in no lower layer
			upper: "file f", look: "f", errno: syscall.EIO, differs: true, want: []string{"A /f", "C /x"},
			mark: func(merged, upper string) error {
				return testenv.Mistype(filepath.Join(merged, "x"), filepath.Join(upper, "x"), filepath.Join(upper, "f"))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
				dir := testenv.Scratch(t, fs)
				o := testenv.Overlay{Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Options: test.options}
				testenv.Tree(t, o.Lower[0], "file d/f", "dir x")
				testenv.Tree(t, o.Upper, strings.Split(test.upper, "; ")...)
				merged := testenv.Mount(t, o)
				if test.mark != nil {
					if err := test.mark(merged, o.Upper); err != nil {
						t.Fatal(err)
					}
				}
				_, refused := os.Lstat(filepath.Join(merged, test.look))
				s, err := FromMount(t.Context(), merged)
				if err != nil {
					t.Fatal(err)
				}
				for _, s.Mountpoint = range []string{merged, ""} {
					got, err := asked(t, s, Options{Engine: Naive})
					switch {
					case s.Mountpoint == "" && test.differs == (refused != nil):
						if !errors.Is(err, diff.ErrUnsupported) {
							t.Errorf("by its layers: changes %q, error %v; want a refusal", got, err)
						}
					case refused != nil:
						if !errors.Is(err, test.errno) {
							t.Errorf("mounted on %q: changes %q, error %v; want %v", s.Mountpoint, got, err, test.errno)
						}
					case err != nil || !slices.Equal(got, test.want):
						t.Errorf("mounted on %q: changes %q, error %v; want %q", s.Mountpoint, got, err, test.want)
					}
				}
			})
		})
	}
}

// A file of a lower layer that can't be looked up, since that layer is an overlay itself, is
// no reason to refuse the whole.
func TestNaive_LowerOverlay(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := testenv.Scratch(t, fs)
		at := func(name string) string { return filepath.Join(dir, name) }
		testenv.Tree(t, at("inner"), "dir c/a", "file c/a/c xattr.trusted.overlay.metacopy=")
		testenv.Tree(t, at("below"), "file d/a")
		testenv.Tree(t, at("upper"), "dir d/b xattr.trusted.overlay.redirect=/c", "file n")
		testenv.Tree(t, at("empty"))
		lower := testenv.Mount(t, testenv.Overlay{Lower: []string{at("inner"), at("empty")}, Options: "metacopy=off"})
		if _, err := os.Lstat(filepath.Join(lower, "c/a/c")); err == nil {
			t.Fatal("a metacopy file can be looked up though metacopy=off")
		}
		merged := testenv.Mount(t, testenv.Overlay{Lower: []string{lower, at("below")}, Upper: at("upper"), Options: "redirect_dir=on"})
		s, err := FromMount(t.Context(), merged)
		if err != nil {
			t.Fatal(err)
		}
		unreadable := []string{}
		beside := func(u *diff.UnreadableError) error { unreadable = append(unreadable, u.Path); return nil }
		got, err := asked(t, s, Options{Engine: Naive, OnUnreadable: beside})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"A /d/b", "A /d/b/a", "A /n"}; !slices.Equal(got, want) || !slices.Equal(unreadable, []string{"/c/a/c", "/d/b/a/c"}) {
			t.Errorf("changes %q, unreadable %q; want %q", got, unreadable, want)
		}
	})
}

// A file whose data can't be opened is unreadable, and the rest is compared.
func TestUnreadable_DataOutside(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		testenv.Needs(t, fs, testenv.DataLayers)
		dir := testenv.Scratch(t, fs)
		at := func(name string) string { return filepath.Join(dir, name) }
		testenv.Tree(t, at("lower"), "dir d", "file f size=4 xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=/../x")
		testenv.Tree(t, at("data"), "file b")
		testenv.Tree(t, at("upper"), "file f content=data", "file n")
		merged := testenv.Mount(t, testenv.Overlay{Lower: []string{at("lower")}, Data: []string{at("data")}, Upper: at("upper"), Options: "metacopy=on"})
		s, err := FromMount(t.Context(), merged)
		if err != nil {
			t.Fatal(err)
		}
		for _, engine := range []Choice{Native, Naive} {
			var unreadable []error
			beside := func(u *diff.UnreadableError) error { unreadable = append(unreadable, u); return nil }
			got, err := asked(t, s, Options{Engine: engine, OnUnreadable: beside})
			if err != nil || !slices.Equal(got, []string{"A /n"}) || len(unreadable) != 1 || !errors.Is(unreadable[0], syscall.EXDEV) {
				t.Errorf("%s: changes %q, unreadable %v, error %v; want A /n, and EXDEV of /f", engine, got, unreadable, err)
			}
		}
	})
}

// asked returns the changes that a [Diff] with these options tells.
func asked(t *testing.T, s diff.Stack, opts Options) (changes []string, err error) {
	d, err := Open(t.Context(), s, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for c, err := range d.Changes(t.Context()) {
		if err != nil {
			return changes, err
		}
		changes = append(changes, c.String())
	}
	return changes, nil
}

// TestRaw holds the engines against the kernel's mounts of layers that no kernel wrote.
func TestRaw(t *testing.T) {
	described := func(ctx context.Context, options string) (diff.Stack, error) {
		s, err := FromOptions(options)
		if err != nil {
			return s, err
		}
		return Foresee(ctx, s)
	}
	handles := knowsHandles(t)
	mounted := func(ctx context.Context, merged, options string) (diff.Stack, error) {
		s, err := FromMount(ctx, merged)
		// Marks by hand (a whiteout of nothing, an owner that was changed in both layers)
		// look like a layer that is missing or id-mapped, where nothing else is visible of
		// it. To call a layer wrong that is the right one is a fault nevertheless.
		// Before 6.6, when no handle tells whose a file is, index=on shows a lower file as what
		// is in the cache of the upper one that names it as its origin (ovl_hash_bylower).
		cached := !handles && strings.Contains(options, "index=on")
		var layer *mountutil.LayerError
		if errors.As(err, &layer) && (!layer.Refuted || cached) || errors.As(err, new(*mountutil.OwnersError)) {
			err = fmt.Errorf("%w: %w", diff.ErrUnsupported, err)
		}
		return s, err
	}
	difftest.RunRaw(t, difftest.RawOptions{Mounted: mounted, Described: described},
		map[string]difftest.Opener{"native": opener(Native), "naive": opener(Naive)})
}
