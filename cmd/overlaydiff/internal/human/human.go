// Package human writes numbers for people.
package human

import (
	"fmt"
	"strconv"
	"strings"
)

const unit = 1024

// Bytes writes a size: 12 B, 3.4 MiB.
func Bytes(n int64) string {
	return scaled(n, unit, "KMGTPE", "iB")
}

func scaled(n, unit int64, prefixes, suffix string) string {
	if -unit < n && n < unit {
		return Count(n) + " B"
	}
	f, i := float64(n)/float64(unit), 0
	for ; (f >= float64(unit) || f <= -float64(unit)) && i < 5; i++ {
		f /= float64(unit)
	}
	return fmt.Sprintf("%.1f %c%s", f, prefixes[i], suffix)
}

// SI writes a size in powers of a thousand: 12 B, 3.4 MB.
func SI(n int64) string { return scaled(n, 1000, "kMGTPE", "B") }

// Plain writes a number as programs read it.
func Plain(n int64) string { return strconv.FormatInt(n, 10) }

// ExactBytes writes a size, with the exact number where that says more.
func ExactBytes(n int64) string {
	if -unit < n && n < unit {
		return Bytes(n)
	}
	return Bytes(n) + " (" + Count(n) + " bytes)"
}

// Count writes a number with separators: 1,234,567.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return sign + b.String()
}

// Plural writes a number and what is counted.
func Plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}
