package peers

import (
	"slices"
	"testing"

	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestTasks holds that everybody is right where overlayfs is plain, so that a
// wrong answer elsewhere is not our calling them wrongly.
func TestTasks(t *testing.T) {
	testenv.RequireRoot(t)
	for _, s := range []bench.Scenario{{Image: 500, Upper: 100}, {Image: 500, Upper: 100, Layers: 3}} {
		t.Run(s.Name(), func(t *testing.T) {
			scene := bench.Build(t, s, mountOverlay)
			for _, task := range slices.Concat([]bench.Task{Usage(), Changes()}, Layers(), Applies()) {
				ours := bench.Ask(t.Context(), task.Right(), scene)
				if ours.Err != nil {
					t.Fatal(ours.Err)
				}
				for _, subject := range task.Subjects {
					if subject.Name == "gnu.tar" {
						continue // wrong by nature
					}
					theirs := bench.Ask(t.Context(), subject, scene)
					if v := task.Compare(ours, theirs); !subject.Limit && v.String() != "right" || theirs.Err != nil {
						t.Errorf("%s, %s: %s", task.Name, subject.Name, v)
					}
				}
			}
		})
	}
}

// TestFloor holds that the floor of usage has the answer of what it limits.
func TestFloor(t *testing.T) {
	testenv.RequireRoot(t)
	scene := bench.Build(t, bench.Scenario{Image: 500, Upper: 200}, mountOverlay)
	task := Usage()
	ours := bench.Ask(t.Context(), task.Right(), scene)
	for _, subject := range task.Subjects {
		if v := task.Compare(ours, bench.Ask(t.Context(), subject, scene)); v.String() != "right" {
			t.Errorf("%s: %s", subject.Name, v)
		}
	}
}
