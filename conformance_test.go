package overlaydiff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// Before 6.16 a redirect of the upper layer that is not followed is no error where nothing is
// at its end. In the mount that the naive engine makes, the upper layer is a lower one.
func TestNaive_RedirectNotFollowed(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := testenv.Scratch(t, fs)
		lower, upper := filepath.Join(dir, "lower"), filepath.Join(dir, "upper")
		testenv.Tree(t, lower, "file d/f")
		testenv.Tree(t, upper, "dir e xattr.trusted.overlay.redirect=nowhere", "file e/g", "dir d/n/m xattr.trusted.overlay.redirect=/nowhere")
		merged := testenv.Mount(t, testenv.Overlay{Lower: []string{lower}, Upper: upper, Options: "redirect_dir=nofollow"})
		_, refused := os.Lstat(filepath.Join(merged, "e"))
		s, err := FromMount(t.Context(), merged)
		if err != nil {
			t.Fatal(err)
		}
		for _, s.Mountpoint = range []string{merged, ""} {
			var got []string
			d, err := Open(t.Context(), s, Options{Engine: Naive})
			if err == nil {
				for c, e := range d.Changes(t.Context()) {
					if err = e; e != nil {
						break
					}
					got = append(got, c.String())
				}
				err = errors.Join(err, d.Close())
			}
			switch {
			case refused != nil:
				if !errors.Is(err, syscall.EPERM) {
					t.Errorf("mounted on %q: changes %q, error %v; want EPERM", s.Mountpoint, got, err)
				}
			case s.Mountpoint == "":
				if !errors.Is(err, diff.ErrUnsupported) {
					t.Errorf("by its layers: changes %q, error %v; want a refusal", got, err)
				}
			case err != nil || !slices.Equal(got, []string{"A /d/n", "A /d/n/m", "A /e", "A /e/g"}):
				t.Errorf("mounted: changes %q, error %v", got, err)
			}
		}
	})
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
	mounted := func(ctx context.Context, merged string) (diff.Stack, error) {
		s, err := FromMount(ctx, merged)
		// Marks by hand (a whiteout of nothing, an owner that was changed in both layers)
		// look like a layer that is missing or id-mapped, where nothing else is visible of
		// it. To call a layer wrong that is the right one is a fault nevertheless.
		var layer *mountutil.LayerError
		if errors.As(err, &layer) && !layer.Refuted || errors.As(err, new(*mountutil.OwnersError)) {
			err = fmt.Errorf("%w: %w", diff.ErrUnsupported, err)
		}
		return s, err
	}
	difftest.RunRaw(t, difftest.RawOptions{Mounted: mounted, Described: described},
		map[string]difftest.Opener{"native": opener(Native), "naive": opener(Naive)})
}
