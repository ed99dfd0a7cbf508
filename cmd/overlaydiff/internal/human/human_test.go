package human

import (
	"math"
	"testing"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1,023 B", -1023: "-1,023 B", 1024: "1.0 KiB (1,024 bytes)", -1536: "-1.5 KiB (-1,536 bytes)", 1 << 40: "1.0 TiB (1,099,511,627,776 bytes)",
		math.MaxInt64: "8.0 EiB (9,223,372,036,854,775,807 bytes)", math.MinInt64: "-8.0 EiB (-9,223,372,036,854,775,808 bytes)",
	} {
		if got := ExactBytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestPlural(t *testing.T) {
	for n, want := range map[int64]string{0: "0 mice", 1: "1 mouse", 1000: "1,000 mice"} {
		if got := Plural(n, "mouse", "mice"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSI(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1_500_000: "1.5 MB", -2000: "-2.0 kB"} {
		if got := SI(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
