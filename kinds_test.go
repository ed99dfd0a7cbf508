package overlaydiff

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
)

// TestKinds_Reads: what the modification time shows to be changed is read only if
// somebody asks in what it differs, or wants its content.
func TestKinds_Reads(t *testing.T) {
	s := mounted(t, "")
	const size = 8 << 20
	content := bytes.Repeat([]byte{'x'}, size)
	for i, dir := range []string{s.Lower[0], s.Mountpoint} {
		if err := os.WriteFile(filepath.Join(dir, "big"), content, 0o644); err != nil {
			t.Fatal(err)
		}
		then := time.Unix(int64(1e9+i), 0)
		if err := os.Chtimes(filepath.Join(dir, "big"), then, then); err != nil {
			t.Fatal(err)
		}
	}
	for _, engine := range []Choice{Native, Naive} {
		d, err := Open(t.Context(), s, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		kinds, err := Open(t.Context(), s, Options{Engine: engine, Kinds: true})
		if err != nil {
			t.Fatal(err)
		}
		export := func() {
			if _, err := d.Export(t.Context(), io.Discard, layer.ExportOptions{}); err != nil {
				t.Error(err)
			}
		}
		changes := func(d *Diff) func() {
			return func() {
				for c, err := range d.Changes(t.Context()) {
					if err != nil || c.Path != "/big" || c.What != diff.WhatMtime {
						t.Errorf("%s: %v (%v), %v", engine, c, c.What, err)
					}
				}
			}
		}
		sum := func() {
			if n, err := d.Size(t.Context()); n != size || err != nil {
				t.Errorf("%s: size %d, %v", engine, n, err)
			}
		}
		for _, test := range []struct {
			name  string
			do    func()
			times int64 // that so much is read
		}{
			{"changes", changes(d), 2},
			{"kinds", changes(kinds), 0},
			{"size", sum, 0},
			{"export", export, 1},
		} {
			before := bytesRead(t)
			test.do()
			if got := (bytesRead(t) - before + size/2) / size; got != test.times {
				t.Errorf("%s: %s reads the file %d times, want %d", engine, test.name, got, test.times)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := kinds.Close(); err != nil {
			t.Error(err)
		}
	}
}
