//go:build linux

package stores

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
)

// dockerConfig is what is read of a container's config.v2.json.
type dockerConfig struct {
	Name, Driver string
	Created      time.Time
	Image        string // the id
	Config       struct {
		Image  string
		Labels map[string]string
	}
	State dockerState
}

type dockerState struct {
	Running, Paused, Restarting, Dead bool
	Pid                               int
	StartedAt                         time.Time
}

// state is as Docker's own State.State (moby, daemon/container/state.go).
func (s dockerState) state() State {
	switch {
	case s.Running && s.Paused:
		return Paused
	case s.Running && s.Restarting:
		return Restarting
	case s.Running:
		return Running
	case s.Dead:
		return Dead
	case s.StartedAt.IsZero():
		return Created
	}
	return Exited
}

// docker reads the store of a Docker daemon with a graph driver:
//
//	containers/ID/config.v2.json
//	image/DRIVER/layerdb/mounts/ID/{mount-id,init-id,parent}
//	image/DRIVER/layerdb/sha256/CHAIN/{size,parent,diff,cache-id}
//	DRIVER/{MOUNT-ID,INIT-ID,CACHE-ID}/{diff,work}
//
// as moby's daemon/internal/layer/filestore.go and its overlay2 driver do.
//
// With the containerd image store, Docker has only config.v2.json, and DRIVER is
// the name of a snapshotter.
type docker struct {
	Store
	mounter
	images     map[string]*chains // by driver
	ids        diff.IDMap         // of all containers, with userns-remap
	containerd []*containerd      // read once one is asked for
}

func dockerContainers(ctx context.Context, s Store) ([]Container, error) {
	ids, err := s.eyes.listIDs(filepath.Join(s.Root, "containers"))
	if err != nil {
		return nil, err
	}
	m, err := s.mounter()
	if err != nil {
		return nil, err
	}
	d := docker{Store: s, mounter: m, images: map[string]*chains{}}
	idsErr := d.findIDs()
	var list []Container
	for _, id := range ids {
		c := Container{Runtime: RuntimeDocker, ID: id, Name: id}
		if c.Err = d.fill(ctx, &c); c.Err == nil && c.Stack.Container.IsZero() {
			c.Stack.Container, c.Err = d.ids, idsErr
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// findIDs finds out which ids containers have that do not run: those of userns-remap, or of
// the user whose daemon it is.
func (d *docker) findIDs() (err error) {
	switch {
	case d.Node == "" || inUserNamespace():
	case remapped.MatchString(filepath.Base(d.Root)):
		d.ids, err = remapIDs(d.Node, d.Root)
	case d.rootless:
		d.ids, err = subIDs(d.Node, d.uid, d.gid)
	}
	return err
}

func (d *docker) fill(ctx context.Context, c *Container) error {
	var config dockerConfig
	if err := d.mounter.eyes.readJSON(filepath.Join(d.Root, "containers", c.ID, "config.v2.json"), maxObject, &config); err != nil {
		return err
	}
	c.setNames([]string{config.Name})
	c.addService(config.Config.Labels)
	c.Created = config.Created
	c.Image, c.ImageID = config.Config.Image, config.Image
	if c.Image == "" {
		c.Image = c.ImageID
	}
	c.State = config.State.state()
	err := d.layers(ctx, c, config.Driver)
	if config.State.Running {
		c.setProcess(config.State.Pid, c.State, d.mounter)
	}
	return err
}

func (d *docker) layers(ctx context.Context, c *Container, driver string) error {
	if driver != "overlay2" && driver != "fuse-overlayfs" {
		return d.snapshots(ctx, c, driver)
	}
	c.Fuse = driver != "overlay2"
	mount := filepath.Join(d.Root, "image", driver, "layerdb", "mounts", c.ID)
	id, err := d.mounter.eyes.readID(filepath.Join(mount, "mount-id"))
	if err != nil {
		return err
	}
	dir := filepath.Join(d.Root, driver, id)
	rw := Layer{CacheID: id, Dir: filepath.Join(dir, "diff"), Size: -1}
	if err := d.mounter.eyes.layerDir(rw.Dir); err != nil {
		return err
	}
	c.RW = rw
	id, err = d.mounter.eyes.readID(filepath.Join(mount, "init-id"))
	switch {
	case err == nil:
		c.Init = Layer{CacheID: id, Dir: filepath.Join(d.Root, driver, id, "diff"), Size: -1}
		err = d.mounter.eyes.layerDir(c.Init.Dir)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return err
	}
	parent, err := d.mounter.eyes.readWord(filepath.Join(mount, "parent"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty image has no layer
		return err
	}
	if c.Layers, err = d.chains(driver).of(ctx, parent); err != nil {
		return err
	}
	lower := dirs(c.Layers)
	if c.Init.Dir != "" {
		lower = slices.Insert(lower, 0, c.Init.Dir)
	}
	m := d.mounter
	m.fuse = c.Fuse
	c.Stack = m.stack(c.RW.Dir, lower)
	return nil
}

// snapshots finds the layers in the containerd that has them.
func (d *docker) snapshots(ctx context.Context, c *Container, driver string) error {
	var unread error
	if d.containerd == nil {
		for _, root := range d.ImageStores {
			store, _, err := openContainerd(ctx, d.mounter.eyes, root, d.Snapshotters)
			if err != nil {
				unread = and(unread, unlessMissing(err))
				continue
			}
			d.containerd = append(d.containerd, store)
		}
	}
	for _, store := range d.containerd {
		if key, ok := store.dockers(driver, c.ID); ok {
			return store.fill(ctx, c, d.mounter, key)
		}
	}
	if unread != nil {
		return unread
	}
	return &diff.UnsupportedError{
		Op:     "find the layers of container " + c.ID,
		Reason: fmt.Sprintf("the storage driver %s keeps no overlay layers here, and no containerd that was found has them", diff.QuotePath(short(driver))),
	}
}

func (d *docker) chains(driver string) *chains {
	if d.images[driver] == nil {
		d.images[driver] = d.newChains(func(chain string) (Layer, string, error) { return d.layer(driver, chain) })
	}
	return d.images[driver]
}

// layer reads what layerdb has of a chain ID.
func (d *docker) layer(driver, chain string) (Layer, string, error) {
	digits, ok := sha256Hex(chain)
	if !ok {
		return Layer{}, "", fmt.Errorf("find the image layer %q: that is no sha256 digest: mend the store", short(chain))
	}
	meta := filepath.Join(d.Root, "image", driver, "layerdb", "sha256", digits)
	l := Layer{ChainID: chain, Size: -1}
	var err error
	if l.CacheID, err = d.mounter.eyes.readID(filepath.Join(meta, "cache-id")); err != nil {
		return l, "", err
	}
	l.Dir = filepath.Join(d.Root, driver, l.CacheID, "diff")
	if err := d.mounter.eyes.layerDir(l.Dir); err != nil {
		return l, "", err
	}
	if l.DiffID, err = d.mounter.eyes.readWord(filepath.Join(meta, "diff")); err != nil {
		return l, "", err
	}
	if _, ok := sha256Hex(l.DiffID); !ok {
		return l, "", fmt.Errorf("read %s: %q is no sha256 digest: mend the store", diff.QuotePath(filepath.Join(meta, "diff")), short(l.DiffID))
	}
	size, err := d.mounter.eyes.readWord(filepath.Join(meta, "size"))
	if err != nil {
		return l, "", err
	}
	if n, err := strconv.ParseInt(size, 10, 64); err == nil && n >= 0 {
		l.Size = n
	}
	parent, err := d.mounter.eyes.readWord(filepath.Join(meta, "parent"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return l, parent, err
}
