package overlaydiff

import (
	"context"
	"errors"
	"fmt"
	"os"
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
