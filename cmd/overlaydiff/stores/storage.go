//go:build linux

package stores

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
)

// containerRecord is an entry of containers.json.
type containerRecord struct {
	ID       string    `json:"id"`
	Names    []string  `json:"names"`
	Image    string    `json:"image"`
	Layer    string    `json:"layer"`
	Metadata string    `json:"metadata"` // JSON once more
	Created  time.Time `json:"created"`
	idRanges
}

// storageMetadata is what CRI-O and Podman write into a container's metadata.
type storageMetadata struct {
	PodID     string `json:"pod-id"`
	PodName   string `json:"pod-name"`
	ImageName string `json:"image-name"`
	Name      string `json:"name"`
	Container string `json:"metadata-name"`
	Namespace string `json:"namespace"`
	Attempt   uint32 `json:"attempt"`
	CreatedAt int64  `json:"created-at"`
}

// storage reads containers/storage with the overlay driver:
//
//	overlay-containers/{containers,volatile-containers}.json
//	overlay-layers/{layers,volatile-layers}.json
//	overlay/LAYER/{diff,work,empty}
//	overlay-containers/ID/userdata/pidfile    in the runroot
//
// as its containers.go, layers.go and drivers/overlay/overlay.go do. The volatile
// files are in the runroot if the store is transient; layers of images may be in
// other stores.
type storage struct {
	Store
	*layered
}

func storageContainers(ctx context.Context, s Store) ([]Container, error) {
	// Containers first: a layer is made before its container, and removed after it.
	records, bad, err := readContainers(ctx, s)
	if err != nil {
		return nil, err
	}
	layers, err := readLayers(ctx, s)
	if err != nil {
		return nil, err
	}
	if s.driver() != "overlay" {
		return withoutOverlay(s, records, bad), nil
	}
	flag, _ := s.eyes.readWord(filepath.Join(s.Root, "overlay", ".has-mount-program"))
	fuse := flag == "true"
	if fuse { // they are not the kernel's
		s.MountOptions = ""
	}
	m, err := s.mounter()
	if err != nil {
		return nil, err
	}
	m.fuse = fuse
	homes := []string{filepath.Join(s.Root, "overlay")}
	for _, store := range s.ImageStores {
		homes = append(homes, filepath.Join(store, "overlay"))
	}
	d := storage{Store: s, layered: newLayered(m, homes, layers.find)}
	list := bad
	for _, r := range records {
		c := Container{ID: r.ID, Fuse: fuse}
		c.Err = d.fill(ctx, &c, r)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// describe fills in what the store says of a container, but for its layers and process.
func (s Store) describe(c *Container, r containerRecord) {
	var meta storageMetadata
	_ = json.Unmarshal([]byte(r.Metadata), &meta) // the library's other users write what they like
	c.Runtime = s.runtime(r.ID, meta)
	c.Created = r.Created
	c.setNames(r.Names)
	if len(c.Names) == 0 && meta.Name != "" {
		c.setNames([]string{meta.Name})
	}
	c.Image, c.ImageID = meta.ImageName, r.Image
	if c.Image == "" {
		c.Image = c.ImageID
	}
	if meta.PodName != "" && meta.Namespace != "" && meta.Container != "" {
		pod := Pod{Namespace: meta.Namespace, Name: meta.PodName, Container: meta.Container, Attempt: meta.Attempt}
		if c.Pod == (Pod{}) { // else its name says it
			c.Pod = pod
		}
		c.addName(pod.String())
	}
}

func (d *storage) fill(ctx context.Context, c *Container, r containerRecord) error {
	d.Store.describe(c, r)
	err := d.layered.fill(ctx, c, r.Layer)
	if d.RunRoot != "" && d.Store.eyes.isDir(filepath.Join(d.RunRoot, "overlay-containers", c.ID)) {
		c.State = Stopped // unless there is a pidfile; a machine that went down has no such directory
	}
	c.setProcess(d.pid(c.ID), Running, d.layered.mounter)
	if err == nil {
		err = d.owners(c, r)
	}
	return err
}

// owners finds out how the layers' owners are shown, and what the container's ids are. With
// ids of its own, the layers of the image are id-mapped when they are mounted
// (containers/storage, drivers/overlay, get). Where the driver can't do that (SupportsShifting),
// the topmost is a copy of everything with the host's owners, which has the same ids written
// down (imageTopLayerForMapping), and nothing is mapped. An ordinary user may not map a layer,
// so that all of its layers are copied.
func (d *storage) owners(c *Container, r containerRecord) error {
	ids := r.ids()
	if d.rootless {
		if c.Fuse && !ids.IsZero() {
			return &diff.UnsupportedError{
				Op:     "find the owners in the layers of container " + diff.QuotePath(c.Name),
				Reason: "fuse-overlayfs maps them inside of the user's own ids, which is not known here",
			}
		}
		own, err := d.userIDs(d.layered.mounter)
		if err == nil && c.Stack.Container.IsZero() { // else its process says it
			c.Stack.Container = nested(ids, own)
		}
		return err
	}
	if ids.IsZero() {
		return nil
	}
	c.Stack.Container = ids
	copied := false
	for _, l := range c.Layers {
		if l.IDs.IsZero() {
			continue
		}
		if copied = true; !l.IDs.Equal(ids) {
			return &diff.UnsupportedError{
				Op:     "find the owners in the layer " + diff.QuotePath(l.Dir),
				Reason: "it was made for other ids than the container has: name the container as pid:N while it runs",
			}
		}
	}
	if copied {
		return nil
	}
	for _, dir := range dirs(c.Layers) {
		c.Stack.Owners[dir] = ids
	}
	if c.Fuse { // it stores what the container sees, in all layers
		c.Stack.Owners[c.Stack.Upper] = ids
	}
	return nil
}

// runtime tells whose container it is: only CRI-O's belong to pods of Kubernetes, and
// Podman writes metadata (libpod, RuntimeContainerMetadata), which Buildah does not. Buildah
// keeps a file beside each of its own, and beside one of Podman's that was committed.
func (s Store) runtime(id string, meta storageMetadata) Runtime {
	switch {
	case meta.PodID != "":
		return RuntimeCRIO
	case meta.Name == "" && meta.CreatedAt == 0 && s.eyes.exists(filepath.Join(s.Root, s.driver()+"-containers", id, "userdata", "buildah.json")):
		return RuntimeBuildah
	}
	return RuntimePodman
}

// withoutOverlay lists the containers of a driver that makes no overlays: vfs.
func withoutOverlay(s Store, records []containerRecord, list []Container) []Container {
	for _, r := range records {
		c := Container{ID: r.ID}
		s.describe(&c, r)
		c.Err = &diff.UnsupportedError{
			Op: "find the layers of container " + diff.QuotePath(c.Name),
			Reason: fmt.Sprintf("the storage driver %s keeps each layer as a whole tree, no overlay: compare two of %s, --old that of the image, --new that of the container",
				s.driver(), diff.QuotePath(filepath.Join(s.Root, s.driver(), "dir"))),
		}
		list = append(list, c)
	}
	return list
}

// pid returns the process that Podman or CRI-O wrote down, 0 if there is none.
func (d *storage) pid(id string) int {
	if d.RunRoot == "" {
		return 0
	}
	word, err := d.Store.eyes.readWord(filepath.Join(d.RunRoot, "overlay-containers", id, "userdata", "pidfile"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(word)
	return pid
}

// volatile returns the directories that can have a store's volatile files.
func (s Store) volatile() []string {
	if s.RunRoot == "" || s.RunRoot == s.Root {
		return []string{s.Root}
	}
	return []string{s.Root, s.RunRoot}
}

// readList decodes a file that is a JSON list, entry by entry. One that does not
// exist is empty.
func readList(e eyes, path string, use func(i int, entry json.RawMessage)) error {
	f, err := e.file(path, maxList)
	if err != nil {
		return unlessMissing(err)
	}
	defer f.Close()
	bad := func(err error) error {
		return fmt.Errorf("decode %s: %w; is it being written, or damaged?", diff.QuotePath(path), err)
	}
	list := json.NewDecoder(f)
	switch start, err := list.Token(); {
	case err != nil:
		return bad(err)
	case start == nil: // "null", a list of none
		return nil
	case start != json.Delim('['):
		return bad(errors.New("it is no list"))
	}
	for i := 0; list.More(); i++ {
		var entry json.RawMessage
		if err := list.Decode(&entry); err != nil {
			return bad(err)
		}
		if i == maxEntries {
			return bad(fmt.Errorf("it has more than %d entries", maxEntries))
		}
		use(i, entry)
	}
	if _, err = list.Token(); err != nil {
		return bad(err)
	}
	return nil
}

// readContainers returns the containers of the store, and apart those of which
// the entry can't be used.
func readContainers(ctx context.Context, s Store) (records []containerRecord, bad []Container, err error) {
	paths := []string{filepath.Join(s.Root, s.driver()+"-containers", "containers.json")}
	for _, dir := range s.volatile() {
		paths = append(paths, filepath.Join(dir, s.driver()+"-containers", "volatile-containers.json"))
	}
	seen, many := map[string]bool{}, false
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		err := readList(*s.eyes, path, func(i int, entry json.RawMessage) {
			r, err := parseContainer(entry)
			switch {
			case err != nil:
				id := fmt.Sprintf("%s[%d]", filepath.Base(path), i)
				bad = append(bad, Container{Runtime: RuntimePodman, ID: id, Name: id,
					Err: fmt.Errorf("read entry %d of %s: %w: mend the store", i, diff.QuotePath(path), err)})
			case !seen[r.ID]:
				seen[r.ID] = true
				records = append(records, r)
			}
			many = many || len(bad)+len(records) > s.eyes.entries()
		})
		if many && err == nil {
			err = fmt.Errorf("read %s: the store has more than %d containers: mend the store", diff.QuotePath(path), s.eyes.entries())
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return records, bad, nil
}

// parseContainer decodes an entry of containers.json.
func parseContainer(raw []byte) (containerRecord, error) {
	var r containerRecord
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, err
	}
	if !isID(r.ID) {
		return r, fmt.Errorf("%q is no id", short(r.ID))
	}
	return r, nil
}

// layerTable has all layers of a store and of those with its images, by id.
type layerTable map[string]layerRecord

func (t layerTable) find(id string) (layerRecord, error) {
	r, ok := t[id]
	if !ok {
		return r, notFound("find the layer " + diff.QuotePath(short(id)) + ": layers.json has none; it was removed meanwhile, or is in a store of images that was not named")
	}
	return r, nil
}

func readLayers(ctx context.Context, s Store) (layerTable, error) {
	paths := []string{filepath.Join(s.Root, "overlay-layers", "layers.json")}
	for _, dir := range append(s.volatile(), s.ImageStores...) {
		paths = append(paths, filepath.Join(dir, "overlay-layers", "volatile-layers.json"))
	}
	for _, dir := range s.ImageStores {
		paths = append(paths, filepath.Join(dir, "overlay-layers", "layers.json"))
	}
	table := layerTable{}
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := readList(*s.eyes, path, func(_ int, entry json.RawMessage) { table.add(entry) }); err != nil {
			return nil, err
		}
	}
	return table, nil
}

// add decodes an entry of layers.json. One that can't be used is as if it were
// not there: who needs it says so.
func (t layerTable) add(raw []byte) {
	var r layerRecord
	if json.Unmarshal(raw, &r) != nil || r.ID == "" || r.check() != nil {
		return
	}
	if _, known := t[r.ID]; !known {
		t[r.ID] = r
	}
}
