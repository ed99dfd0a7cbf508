package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
)

// fixed is a walk that finds these items.
type fixed []diff.Item

func (fixed) Name() string { return "fixed" }

func (fixed) Close() error { return nil }

func (fixed) Changes(context.Context, diff.Options) iter.Seq2[diff.Change, error] { return nil }

func (f fixed) Carry(_ context.Context, _ diff.Options, _ diff.Want, use func(iter.Seq2[diff.Item, error]) error) error {
	return use(func(yield func(diff.Item, error) bool) {
		for _, item := range f {
			if !yield(item, nil) {
				return
			}
		}
	})
}

// linkPayload is a payload that is there, or not any more.
type linkPayload struct{ gone bool }

func (s linkPayload) err() error {
	if s.gone {
		return diff.ErrRaced
	}
	return nil
}

func (s linkPayload) Again() (diff.Entry, diff.Payload, error) {
	return diff.Entry{Type: diff.Symlink}, s, s.err()
}
func (linkPayload) Open() (diff.OpenFile, error)    { return diff.OpenFile{}, errors.ErrUnsupported }
func (linkPayload) Target() (string, error)         { return "to", nil }
func (s linkPayload) Xattrs() ([]diff.Xattr, error) { return nil, s.err() }
func (linkPayload) Attributes() (string, error)     { return "", nil }

// What is in a directory that vanished while it was read is not in the layer either:
// below, there may be something else than a directory.
func TestExport_DirectoryVanishes(t *testing.T) {
	item := func(path string, typ diff.Type, gone bool) diff.Item {
		return diff.Item{Change: diff.Change{Kind: diff.Add, Path: path, Entry: diff.Entry{Type: typ, Nlinks: 1}}, Payload: linkPayload{gone}}
	}
	raced := []string{}
	var b bytes.Buffer
	_, err := layer.Export(t.Context(), fixed{
		item("/d", diff.Dir, true), item("/d/e", diff.Dir, false), item("/d/e/l", diff.Symlink, false), item("/d/l", diff.Symlink, false),
		item("/d-l", diff.Symlink, false), item("/m", diff.Dir, false), item("/m/l", diff.Symlink, false),
	}, diff.Options{OnRace: func(path string) error { raced = append(raced, path); return nil }}, &b, layer.ExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if d := cmp.Diff([]string{"d-l", "m/", "m/l"}, names); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"/d"}, raced); d != "" {
		t.Error(d)
	}
}
