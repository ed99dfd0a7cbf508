//go:build linux

package stores

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
)

func TestChains(t *testing.T) {
	reads := 0
	images := mounter{}.newChains(func(name string) (Layer, string, error) {
		reads++
		n, _ := strconv.Atoi(name)
		if n == 1 {
			return Layer{ID: name, Size: 1}, "", nil
		}
		return Layer{ID: name, Size: 1}, strconv.Itoa(n - 1), nil
	})
	for range 2 {
		if layers, err := images.of(t.Context(), "500"); len(layers) != 500 || err != nil || reads != 500 {
			t.Errorf("%d layers, %d reads, %v", len(layers), reads, err)
		}
	}
	if _, err := images.of(t.Context(), "501"); err == nil || !strings.Contains(err.Error(), "more than 500") {
		t.Errorf("too many layers: %v", err)
	}
	if layers, err := images.of(t.Context(), ""); len(layers) != 0 || err != nil {
		t.Errorf("no layers: %v, %v", layers, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := images.of(ctx, "5"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestIsID(t *testing.T) {
	for id, want := range map[string]bool{
		id("a"): true, id("a") + "-init": true, "a_b.C-1": true, "a..b": true,
		"": false, ".": false, "..": false, "../a": false, "a/b": false, "-a": false, ".a": false, "a\x00": false, "a b": false, "é": false,
		strings.Repeat("a", 129): false,
	} {
		if isID(id) != want {
			t.Errorf("isID(%q) is %v", id, !want)
		}
	}
}

func TestImageSize(t *testing.T) {
	const large = 1 << 62
	for _, c := range []struct {
		container Container
		want      int64
		ok        bool
	}{
		{Container{}, 0, true},
		{Container{Layers: []Layer{{Size: 2}, {Size: 3}}}, 5, true},
		{Container{Layers: []Layer{{Size: 2}, {Size: -1}}}, 0, false},
		{Container{Layers: []Layer{{Size: large}, {Size: large}}}, 0, false},
		{Container{Layers: []Layer{{Size: 2}}, Err: errors.New("x")}, 2, false},
	} {
		if got, ok := c.container.ImageSize(); got != c.want || ok != c.ok {
			t.Errorf("%+v: %d, %v", c.container, got, ok)
		}
	}
}
