package peers

import (
	"testing"

	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// copied are the images that are copied: there must be room for them twice.
var copied = map[bench.Set]bench.Scenario{
	bench.Tiny:  {Image: 1000, Upper: 20},
	bench.Short: {Image: 20_000, Upper: 20},
	bench.Full:  {Upper: 20},
}

func BenchmarkCopies(b *testing.B) {
	testenv.RequireRoot(b)
	s := copied[chosenSet(b)]
	b.Run(s.Name(), func(b *testing.B) {
		if s.Image == 0 && !bench.HasDebian() {
			b.Skip("no Debian image: bench/real-image.sh large makes it")
		}
		copies, err := Copy(bench.Build(b, s, mountOverlay))
		if err != nil {
			b.Fatal(err)
		}
		bench.Measure(b, Copies(), copies)
	})
}

// TestCopies holds that only who reads contents sees that a file was rewritten.
func TestCopies(t *testing.T) {
	testenv.RequireRoot(t)
	s, err := Copy(bench.Build(t, bench.Scenario{Image: 500, Upper: 20}, mountOverlay))
	if err != nil {
		t.Fatal(err)
	}
	task := Copies()
	ours := bench.Ask(t.Context(), task.Right(), s)
	if ours.Err != nil || ours.Paths["/"+rewritten] != 'C' || len(ours.Paths) < 5 {
		t.Fatalf("%d changes, %v", len(ours.Paths), ours.Err)
	}
	for _, subject := range task.Subjects {
		want := "wrong: misses /" + rewritten
		if subject.Name == task.Right().Name {
			want = "right"
		}
		if got := task.Compare(ours, bench.Ask(t.Context(), subject, s)).String(); got != want && !subject.Limit {
			t.Errorf("%s: %s, want %s", subject.Name, got, want)
		}
	}
}
