package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	umocilayer "github.com/opencontainers/umoci/oci/layer"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/layer"
)

// replayers are programs that apply layers, as a library, with what they can't
// carry: layers of which can says false are not given to them.
var replayers = map[string]struct {
	apply func(ctx context.Context, dir string, r io.Reader) error
	can   func(l difftest.Layer) bool
}{
	"containerd": {applyAll, withoutInheritance},
	"umoci":      {func(_ context.Context, dir string, r io.Reader) error { return umocilayer.UnpackLayer(dir, r, nil) }, forUmoci},
}

// withoutInheritance leaves out what a directory's default ACL gives to what is
// made in it: none of them takes that away again.
func withoutInheritance(l difftest.Layer) bool { return !l.HasDefaultACL() && len(l.Lacks) == 0 }

// noUmoci is what umoci does not set, attributes without a value and those named
// like marks of overlayfs, and where it fails: ACLs on XFS, which shows them twice.
var noUmoci = regexp.MustCompile(`SCHILY\.xattr\.([^=]*=\n|(trusted|user)\.overlay\.|system\.posix_acl_)`)

func forUmoci(l difftest.Layer) bool { return withoutInheritance(l) && !noUmoci.Match(l.Archive) }

// TestReplay_Random has layers of random overlays replayed by other programs than
// ours: the new view must come out.
func TestReplay_Random(t *testing.T) {
	applied := map[string]int{}
	check := func(tb testing.TB, v difftest.View) error {
		l, err := export(tb.Context(), v)
		if err != nil {
			return err
		}
		for name, r := range replayers {
			if !r.can(l) {
				continue
			}
			applied[name]++
			if err := v.Replay(tb.Context(), l, func(in io.Reader, dir string) error { return r.apply(tb.Context(), dir, in) }); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
	difftest.RunRandom(t, difftest.RandomOptions{Cases: 40, Checks: map[string]difftest.Check{"replay": check}}, nil)
	for _, name := range slices.Sorted(maps.Keys(replayers)) {
		t.Logf("%s replayed %d layers", name, applied[name])
		if applied[name] == 0 && os.Getenv("OVERLAYDIFF_SEED") == "" { // one case may be none that it can do

			t.Errorf("%s replayed no layer", name)
		}
	}
}

// export returns our layer of a case.
func export(ctx context.Context, v difftest.View) (l difftest.Layer, err error) {
	d, err := overlaydiff.Open(ctx, v.Stack, overlaydiff.Options{})
	if err != nil {
		return l, err
	}
	var b bytes.Buffer
	_, err = d.Export(ctx, &b, layer.ExportOptions{SkipReserved: true, OnLack: func(lack layer.Lack) { l.Lacks = append(l.Lacks, lack.Path) }})
	l.Archive = b.Bytes()
	return l, errors.Join(err, d.Close())
}
