//go:build linux

package stores

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
)

// isuladContainer is a container.json.
type isuladContainer struct {
	ID    string   `json:"id"`
	Names []string `json:"names"`
	Image string   `json:"image"`
	Layer string   `json:"layer"`

	Created time.Time `json:"created"`
}

// isuladConfig is what is read of the engine's config.v2.json.
type isuladConfig struct {
	CommonConfig struct{ Name, Image string }
	State        dockerState
}

// isuladContainers reads the store of iSulad, which has one file for each
// object. The id of a container is that of its layer; there is no init layer.
//
//	storage/overlay-containers/ID/container.json
//	storage/overlay-layers/ID/layer.json
//	storage/overlay/ID/{diff,work}
//	engines/RUNTIME/ID/config.v2.json    name and state
//
// as its rootfs_store.c and layer_store.c do.
func isuladContainers(ctx context.Context, s Store) ([]Container, error) {
	storage := filepath.Join(s.Root, "storage")
	ids, err := s.eyes.listIDs(filepath.Join(storage, "overlay-containers"))
	if err != nil {
		return nil, err
	}
	m, err := s.mounter()
	if err != nil {
		return nil, err
	}
	d := newLayered(m, []string{filepath.Join(storage, "overlay")}, func(id string) (layerRecord, error) {
		return isuladLayer(*s.eyes, filepath.Join(storage, "overlay-layers"), id)
	})
	engines, _ := s.eyes.listIDs(filepath.Join(s.Root, "engines"))
	var list []Container
	for _, id := range ids {
		c := Container{Runtime: RuntimeISulad, ID: id, Name: id}
		c.Err = fillISulad(ctx, s, d, &c)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.setEngine(s.Root, engines, d)
		list = append(list, c)
	}
	return list, nil
}

func fillISulad(ctx context.Context, s Store, d *layered, c *Container) error {
	var config isuladContainer
	if err := s.eyes.readJSON(filepath.Join(s.Root, "storage", "overlay-containers", c.ID, "container.json"), maxObject, &config); err != nil {
		return err
	}
	if config.ID != c.ID {
		return fmt.Errorf("read container %s: its container.json is that of %q: mend the store", c.ID, short(config.ID))
	}
	c.setNames(config.Names)
	c.Created = config.Created
	c.Image, c.ImageID = config.Image, config.Image
	own := config.Layer
	if own == "" {
		own = c.ID
	}
	return d.fill(ctx, c, own)
}

// isuladLayer reads a layer.json. The id is a plain name.
func isuladLayer(e eyes, dir, id string) (layerRecord, error) {
	var r layerRecord
	path := filepath.Join(dir, id, "layer.json")
	if err := e.readJSON(path, maxObject, &r); err != nil {
		return r, err
	}
	if r.ID != id {
		return r, fmt.Errorf("read %s: it is that of layer %q: mend the store", diff.QuotePath(path), short(r.ID))
	}
	return r, r.check()
}

// setEngine adds what the engine knows: the name that users gave, and the state.
func (c *Container) setEngine(root string, engines []string, d *layered) {
	for _, engine := range engines {
		var config isuladConfig
		if d.eyes.readJSON(filepath.Join(root, "engines", engine, c.ID, "config.v2.json"), maxObject, &config) != nil {
			continue
		}
		if name := config.CommonConfig.Name; name != "" {
			c.Names = nil
			c.setNames([]string{name})
		}
		if image := config.CommonConfig.Image; image != "" {
			c.Image = image
		}
		c.State = config.State.state()
		if config.State.Running {
			c.setProcess(config.State.Pid, c.State, d.mounter)
		}
		return
	}
}
