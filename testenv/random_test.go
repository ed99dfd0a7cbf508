package testenv

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var randomOptions = []string{"", "redirect_dir=on", "metacopy=on,index=on", "userxattr", "nfs_export=on"}

// TestRandom_Verbs holds the generator to its aim: that every verb succeeds
// often. A verb that is nearly always refused tests nothing.
func TestRandom_Verbs(t *testing.T) {
	RequireRoot(t)
	type count struct{ tried, done, upper int }
	counts := map[string]*count{}
	for verb := range verbs {
		counts[verb] = &count{}
	}
	foreseen, all, fs := 0, 0, Tmpfs
	if !Has(t, fs, UserXattrs) {
		fs = Ext4
	}
	tmpfiles := Has(t, fs, Tmpfiles)
	for seed := range uint64(40) {
		c := Random(seed, randomOptions[seed%uint64(len(randomOptions))])
		m := newModel(c.Options)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if c.Options == "userxattr" {
				Needs(t, fs, UserXattrMarks)
			}
			dir := Scratch(t, fs)
			var lowers []string
			for i, ops := range c.Layers {
				root := filepath.Join(dir, fmt.Sprint(i))
				if i == 0 {
					Tree(t, root)
				} else {
					root = Mount(t, Overlay{Lower: lowers, Upper: root, Options: c.Options})
				}
				for _, op := range ops {
					if op.Verb == "tmpfile" && !tmpfiles {
						continue // and what becomes of it is not foreseen
					}
					err := op.Apply(root)
					if err != nil && !Refused(err) {
						t.Errorf("%v, in\n%s", err, c)
					}
					n := counts[op.Verb]
					n.tried++
					all++
					if m.apply(op) == (err == nil) {
						foreseen++
					} else if testing.Verbose() {
						t.Logf("layer %d: not foreseen: %s: %v", i, op, err)
					}
					if err == nil {
						n.done++
						if i == len(c.Layers)-1 {
							n.upper++
						}
					}
				}
				m.next()
				if i > 0 {
					Unmount(t, root)
				}
				lowers = slices.Insert(lowers, 0, filepath.Join(dir, fmt.Sprint(i)))
			}
		})
	}
	for _, verb := range slices.Sorted(maps.Keys(counts)) {
		n := counts[verb]
		t.Logf("%-12s %5d tried, %5d done (%d%%), of these %d in an upper layer", verb, n.tried, n.done, 100*n.done/max(n.tried, 1), n.upper)
		if verb == "tmpfile" && !tmpfiles {
			continue
		}
		if n.done*10 < n.tried*7 || n.upper < 4 {
			t.Errorf("%s is done too rarely", verb)
		}
	}
	if foreseen*100 < all*97 {
		t.Errorf("the model foresaw what becomes of %d of %d operations", foreseen, all)
	}
	t.Logf("the model foresaw what becomes of %d of %d operations", foreseen, all)
}

func TestRandom_Script(t *testing.T) {
	for seed := range uint64(20) {
		c := Random(seed, randomOptions[seed%5])
		if again := Random(seed, c.Options); c.String() != again.String() {
			t.Fatalf("one seed, two cases:\n%s\n%s", c, again)
		}
		got, err := ParseCase(c.String())
		if err != nil {
			t.Fatalf("%v, in\n%s", err, c)
		}
		got.Seed = c.Seed
		if d := cmp.Diff(c, got); d != "" {
			t.Fatalf("a script is read as another case (-written +read):\n%s", d)
		}
	}
	for _, script := range []string{"", "layer\nunlink a", "unlink a\nlayer\nlayer", "layer\nlayer\nfly a"} {
		if c, err := ParseCase(script); err == nil {
			t.Errorf("ParseCase(%q) = %v, want an error", script, c)
		}
	}
}

// TestRandom_Ends generates many cases: none may be stuck where the tree is
// full, or empty.
func TestRandom_Ends(t *testing.T) {
	for seed := range uint64(2000) {
		if c := Random(seed, "redirect_dir=on"); c.Ops() < 40 {
			t.Fatalf("only %d operations:\n%s", c.Ops(), c)
		}
	}
}
