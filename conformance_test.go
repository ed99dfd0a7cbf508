package overlaydiff

import (
	"context"
	"iter"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

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
	difftest.RunRandom(t, difftest.RandomOptions{}, map[string]difftest.Opener{
		"native": opener(Native), "naive": opener(Naive), "auto": opener(Auto),
		"naive, reading all": reading(opener(Naive)),
	})
}

// reading makes an engine read contents whatever it has proofs of.
func reading(open difftest.Opener) difftest.Opener {
	return func(ctx context.Context, tb testing.TB, s diff.Stack) (diff.Engine, error) {
		e, err := open(ctx, tb, s)
		return reader{e}, err
	}
}

type reader struct{ diff.Engine }

func (r reader) Changes(ctx context.Context, o diff.Options) iter.Seq2[diff.Change, error] {
	o.Content = diff.ContentAlways
	return r.Engine.Changes(ctx, o)
}
