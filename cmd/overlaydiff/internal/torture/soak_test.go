package torture_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// held is what a process holds at a moment.
type held struct {
	heap, resident  int64 // bytes
	descriptors     int
	goroutines      int
	mounts, entries int // entries: of the directory for temporary files
}

func takeHeld(t *testing.T) held {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory() // collects once more: what finalizers and pools let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h := held{heap: int64(m.HeapAlloc), goroutines: runtime.NumGoroutine(), mounts: mountCount(t)}
	for dir, n := range map[string]*int{"/proc/self/fd": &h.descriptors, os.TempDir(): &h.entries} {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		*n = len(list)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	h.resident = kib << 10
	return h
}

// warmUp is how many diffs it takes to make what is kept for the next.
const warmUp = 20

// A process that asks again and again, as a daemon does, holds in the end what it held
// when it had asked for everything a few times.
func TestSoak(t *testing.T) {
	run := torture.Start(t, torture.Soak, 10)
	before := testenv.TakeInventory()
	q := newQuiet(t, testenv.Scratch(t, testenv.Tmpfs), "redirect_dir=on,metacopy=on,index=on")
	diffs, walks := 0, 0
	ask := func() {
		for _, engine := range engines {
			n, raced := q.answers(t, engine, 1+diffs%4)
			if raced != 0 {
				t.Errorf("%d races, and nobody writes", raced)
			}
			walks += n
			diffs++
		}
	}
	for diffs < warmUp && !t.Failed() {
		ask()
	}
	warm := takeHeld(t)
	for (diffs < 200 || run.Whole() && diffs < 10_000 || run.More()) && !t.Failed() {
		ask()
	}
	end := takeHeld(t)
	run.Count("diffs", diffs)
	run.Count("questions that they were asked", walks)
	run.Note("From the %dth diff to the last: heap %d to %d KiB, resident %d to %d KiB, descriptors %d to %d, goroutines %d to %d.",
		warmUp, warm.heap>>10, end.heap>>10, warm.resident>>10, end.resident>>10,
		warm.descriptors, end.descriptors, warm.goroutines, end.goroutines)
	if end.descriptors > warm.descriptors || end.goroutines > warm.goroutines || end.mounts > warm.mounts || end.entries > warm.entries {
		t.Errorf("held in the end %+v, before %+v", end, warm)
	}
	const slack = 4 << 20 // what the runtime keeps varies with when it collects
	if end.heap > warm.heap+slack {
		t.Errorf("the heap grew from %d to %d bytes in %d diffs", warm.heap, end.heap, diffs)
	}
	// The race detector keeps memory of its own for all that a process ever did.
	if !raceDetector && end.resident > warm.resident+warm.resident/2+16*slack {
		t.Errorf("the process grew from %d to %d bytes in %d diffs", warm.resident, end.resident, diffs)
	}
	testenv.Unmount(t, q.merged)
	if err := before.Leaks(); err != nil {
		t.Error(err)
	}
}
