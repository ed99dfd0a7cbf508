//go:build linux

package stores

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
)

// layerRecord is a layer as containers/storage and iSulad write it down.
type layerRecord struct {
	ID         string `json:"id"`
	Parent     string `json:"parent"`
	DiffDigest string `json:"diff-digest"`
	DiffSize   *int64 `json:"diff-size"`
	idRanges
}

// check returns an error if what becomes part of paths is no plain name.
func (r layerRecord) check() error {
	for _, id := range []string{r.ID, r.Parent} {
		if id != "" && !isID(id) {
			return fmt.Errorf("read the layer %q: %q is no id: mend the store", short(r.ID), short(id))
		}
	}
	return nil
}

// layer returns the layer with its directory in home. A size of 0 is not written
// down, and neither is one that is not known: there is no digest then (layers.go
// in containers/storage).
func (r layerRecord) layer(home string) Layer {
	l := Layer{ID: r.ID, Dir: filepath.Join(home, r.ID, "diff"), Size: -1, IDs: r.ids()}
	if _, ok := sha256Hex(r.DiffDigest); ok {
		l.DiffID = r.DiffDigest
	}
	switch {
	case r.DiffSize != nil && *r.DiffSize >= 0:
		l.Size = *r.DiffSize
	case r.DiffSize == nil && l.DiffID != "":
		l.Size = 0
	}
	return l
}

// layered fills in the layers of a container, of which own is the read-write one.
type layered struct {
	mounter
	home   string // of the container's own layer
	record func(id string) (layerRecord, error)
	images *chains
}

// newLayered finds layer directories in the homes, tried in order; containers'
// own layers are in the first.
func newLayered(m mounter, homes []string, record func(id string) (layerRecord, error)) *layered {
	read := func(id string) (Layer, string, error) {
		r, err := record(id)
		if err != nil {
			return Layer{}, "", err
		}
		for _, home := range homes {
			l := r.layer(home)
			_, err := m.eyes.dir(l.Dir) // a link with an additional layer store
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
				continue
			}
			if err == nil {
				l.Below, err = m.below(l.Dir)
			}
			return l, r.Parent, cmp.Or(err, m.checkComposefs(home, id))
		}
		return Layer{}, "", pathError(&fs.PathError{Op: "find the layer", Err: fs.ErrNotExist}, r.layer(homes[0]).Dir)
	}
	return &layered{mounter: m, home: homes[0], record: record, images: m.newChains(read)}
}

// below returns the directories diff1, diff2… beside a layer's diff: when containers/storage gives
// the files of a layer to other ids, it copies them up into a new one (drivers/overlay,
// UpdateLayerIDMap, get).
func (m mounter) below(dir string) (list []string, err error) {
	for n := 1; n <= maxDepth; n++ {
		path := dir + strconv.Itoa(n)
		switch err := m.eyes.layerDir(path); {
		case errors.Is(err, fs.ErrNotExist):
			return list, nil
		case err != nil:
			return nil, err
		}
		list = append(list, path)
	}
	return nil, fmt.Errorf("find the layer %s: it has more than %d directories: the store is damaged", diff.QuotePath(dir), maxDepth)
}

// checkComposefs returns an error if the layer's names are in an image file:
// only while that is mounted can the layer be read.
func (m mounter) checkComposefs(home, id string) error {
	if m.eyes.exists(filepath.Join(home, id, "composefs-data")) {
		return &diff.UnsupportedError{Op: "read the layer " + id, Reason: "it is kept as a composefs image: name the container as pid:N while it runs"}
	}
	return nil
}

func (d *layered) fill(ctx context.Context, c *Container, own string) error {
	if !isID(own) {
		return fmt.Errorf("find the layer of container %s: %q is no id: mend the store", c.ID, short(own))
	}
	dir := filepath.Join(d.home, own)
	rw := Layer{ID: own, Dir: filepath.Join(dir, "diff"), Size: -1}
	if err := d.eyes.layerDir(rw.Dir); err != nil {
		return err
	}
	var err error
	if rw.Below, err = d.below(rw.Dir); err != nil {
		return err
	}
	c.RW = rw
	r, err := d.record(own)
	if err != nil {
		return err
	}
	if r.Parent == own {
		return errors.New("find the layers below " + own + ": it is its own parent: the store is damaged")
	}
	if c.Layers, err = d.images.of(ctx, r.Parent); err != nil {
		return err
	}
	lower := append(slices.Clone(rw.Below), dirs(c.Layers)...)
	if len(lower) == 0 { // made from nothing; the overlay needs a lower layer
		lower = []string{filepath.Join(dir, "empty")}
	}
	c.Stack = d.stack(rw.Dir, lower)
	return nil
}
