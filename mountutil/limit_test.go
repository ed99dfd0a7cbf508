package mountutil

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A mount table of 100,000 lines is read line by line: what is not asked for costs no
// allocation but its line.
func TestReadTable_Long(t *testing.T) {
	allocations := func(lines int) float64 {
		path := filepath.Join(t.TempDir(), "mountinfo")
		var b bytes.Buffer
		for i := range lines {
			fmt.Fprintf(&b, "%d 1 0:%d / /m/%d rw,relatime shared:%d - overlay overlay rw,lowerdir=/l/%d:/l,upperdir=/u/%d,workdir=/w/%d\n", i+1, i+30, i, i, i, i, i)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		want := fmt.Appendf(nil, "%d ", lines)
		return testing.AllocsPerRun(1, func() {
			found, err := readTable(path, func(line []byte) bool { return bytes.HasPrefix(line, want) })
			if err != nil || len(found) != 1 || found[0].Mountpoint != fmt.Sprintf("/m/%d", lines-1) {
				t.Fatalf("%d lines: found %d, %v", lines, len(found), err)
			}
		})
	}
	half, whole := allocations(50_000), allocations(100_000)
	if whole > 2.5*half {
		t.Errorf("%v allocations for 100,000 lines, %v for half of them", whole, half)
	}
}
