package main

import (
	"strings"
	"testing"
	"time"
)

// The end of an image's name has the tag: the beginning is cut, as far as the terminal takes.
func TestFit(t *testing.T) {
	for width, want := range map[int]int{0: imageWidth, 1000: imageWidth, 30: 30 - len("ID") - len("NAME") - 2*2, 10: imageLeast} {
		table := [][]string{{"ID", "IMAGE", "NAME"}, {"a", "registry.example.com/team/" + strings.Repeat("x", 30) + ":1.27", "web"}, {"b", "", "db"}}
		fit(table, 1, width)
		image := table[1][1]
		if len([]rune(image)) != want || !strings.HasPrefix(image, "…") || !strings.HasSuffix(image, ":1.27") || table[0][1] != "IMAGE" || table[2][1] != "" {
			t.Errorf("width %d: %q, want %d characters", width, table, want)
		}
	}
}

func TestAge(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 179 * time.Minute: "179m", 3 * time.Hour: "3h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", -time.Hour: "-",
	} {
		if got := age(now.Add(-d), now); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	if got := age(time.Time{}, now); got != "-" {
		t.Error(got)
	}
}
