//go:build linux

package stores

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// Layout is a way to keep containers on disk. The zero value is invalid.
type Layout uint8

// The layouts.
const (
	_                       Layout = iota
	LayoutDocker                   // Docker with a graph driver: overlay2 or fuse-overlayfs
	LayoutContainersStorage        // Podman, Buildah and CRI-O
	LayoutISulad
	LayoutContainerd
)

// String returns "docker", "containers-storage", "isulad" or "containerd".
func (l Layout) String() string {
	switch l {
	case LayoutDocker:
		return "docker"
	case LayoutContainersStorage:
		return "containers-storage"
	case LayoutISulad:
		return "isulad"
	case LayoutContainerd:
		return "containerd"
	default:
		return "invalid"
	}
}

// Store says where containers are kept, and how.
type Store struct {
	Layout Layout
	// Root is the store's directory: Docker's data-root (/var/lib/docker), the
	// graphroot of containers/storage, iSulad's graph (/var/lib/isulad),
	// containerd's root (/var/lib/containerd).
	Root string
	// RunRoot is the runroot of containers/storage, which has the process ids, and
	// what transient stores keep of their containers; or containerd's state
	// directory, which has the process ids. "" is none.
	RunRoot string
	// ImageStores are further stores with layers: those of containers/storage
	// (imagestore and additionalimagestores in storage.conf); for Docker, the roots
	// of the containerd that may keep all its layers.
	ImageStores []string
	// Snapshotters are directories in which snapshotters of containerd keep their
	// snapshots, by the snapshotter's name, if not below containerd's root: those of
	// root_path and of proxy plugins. Those of "" may be any snapshotter's.
	Snapshotters map[string][]string
	// Driver is that of containers/storage: "vfs"; "" is overlay.
	Driver string
	// MountOptions are the options with which overlays are mounted beside those
	// for the layers ("nodev,metacopy=on": mountopt in storage.conf). They matter
	// for containers that do not run.
	MountOptions string
	// Node is where the root of the store's node is, "/" or a directory, to look up
	// subordinate ids in etc/subuid and etc/subgid; "" is nowhere.
	Node string

	eyes *eyes // nil: not looked at yet
}

// driver returns the driver's name.
func (s Store) driver() string { return cmp.Or(s.Driver, "overlay") }

// Docker returns the store of a Docker daemon with that data-root. With its
// containerd image store, layers are in the store of a containerd, whose possible
// roots are to be given.
func Docker(root string, containerd ...string) Store {
	return Store{Layout: LayoutDocker, Root: root, ImageStores: containerd}
}

// Containerd returns the store of a containerd with that root and state directory.
// stateDir may be "".
func Containerd(root, stateDir string) Store {
	return Store{Layout: LayoutContainerd, Root: root, RunRoot: stateDir}
}

// ContainersStorage returns the store of Podman, Buildah or CRI-O with that
// graphroot. runRoot may be "".
func ContainersStorage(root, runRoot string, imageStores ...string) Store {
	return Store{Layout: LayoutContainersStorage, Root: root, RunRoot: runRoot, ImageStores: imageStores}
}

// ISulad returns the store of an iSulad daemon with that graph directory.
func ISulad(root string) Store { return Store{Layout: LayoutISulad, Root: root} }

// Containers lists the containers of the store, running or not, in no special
// order. The error says that there is no list; what is wrong with one container
// is in its Err.
//
// It matches [fs.ErrNotExist] if the store is not there and [fs.ErrPermission]
// if it may not be read.
func (s Store) Containers(ctx context.Context) ([]Container, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.look(); err != nil {
		return nil, fmt.Errorf("open the %s store: %w", s.Layout, err)
	}
	if _, err := s.eyes.dir(s.Root); err != nil {
		return nil, fmt.Errorf("open the %s store: %w", s.Layout, err)
	}
	var list []Container
	var err error
	switch s.Layout {
	case LayoutDocker:
		list, err = dockerContainers(ctx, s)
	case LayoutContainersStorage:
		list, err = storageContainers(ctx, s)
	case LayoutISulad:
		list, err = isuladContainers(ctx, s)
	case LayoutContainerd:
		list, err = containerdContainers(ctx, s)
	default:
		return nil, fmt.Errorf("open the store %s: its layout is invalid: use Docker, ContainersStorage, ISulad or Containerd", diff.QuotePath(s.Root))
	}
	if err != nil {
		return nil, fmt.Errorf("list the containers of the %s store %s: %w", s.Layout, diff.QuotePath(s.Root), err)
	}
	for i := range list {
		list[i].Owner = s.eyes.accounts.owner(s.eyes.user)
		list[i].Stack.Opener = *s.eyes
		if list[i].Err == nil {
			list[i].Err = checkIDs(list[i].Stack.Container)
		}
		list[i].Image, list[i].ImageID = cutWord(list[i].Image, maxName), cutWord(list[i].ImageID, maxName)
	}
	return list, nil
}

// look finds out whose word the store is, of one that [Find] did not find.
func (s *Store) look() (err error) {
	if s.eyes != nil {
		return nil
	}
	e := eyes{node: "/", images: s.ImageStores}
	if e.accounts, err = readAccounts(e); err != nil {
		e.accounts = nil // then no id is subordinate
	}
	s.eyes, err = e.of(s.Root, true)
	return err
}

// remapped matches the data-root of a Docker daemon with userns-remap: it
// belongs to that user, but root mounts there.
var remapped = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

// mounter knows how a store's overlays are mounted.
type mounter struct {
	eyes       eyes
	layersLeft *int // see [chains]
	options    mountutil.Options
	defaults   mountutil.Defaults
	fuse       bool // fuse-overlayfs mounts, not the kernel
	rootless   bool // the store is a user's
	uid, gid   uint32
}

// mounter takes a store that is not root's to be mounted within a user
// namespace, where overlays have to use user.* attributes; and any store, if this
// process is in one.
func (s Store) mounter() (mounter, error) {
	options, err := mountutil.ParseOptions(s.MountOptions)
	if err != nil {
		return mounter{}, err
	}
	if s.Layout == LayoutDocker || s.Layout == LayoutContainerd {
		options.Index = "off" // the overlay2 driver and the overlayfs snapshotter always say so
	}
	rootless := s.eyes.user != 0 && s.eyes.user != server
	if rootless || inUserNamespace() {
		options.UserXattr = true
	}
	m := mounter{eyes: *s.eyes, options: options, defaults: mountutil.KernelDefaults(), rootless: rootless}
	if st, err := s.eyes.dir(s.Root); err == nil {
		m.uid, m.gid = st.UID, st.GID
	}
	if s.eyes.user != 0 {
		m.layersLeft = new(int)
		*m.layersLeft = maxUsersLayers
	}
	return m, nil
}

// stack describes an overlay; all runtimes here have the work directory beside
// the upper one.
func (m mounter) stack(upper string, lower []string) diff.Stack {
	m.options.Lower, m.options.Data = lower, nil
	m.options.Upper, m.options.Work = upper, filepath.Join(filepath.Dir(upper), "work")
	s := m.options.Stack(m.defaults)
	s.Owners = map[string]diff.IDMap{}
	if m.fuse {
		s.Features = diff.Features{Fuse: true, UserXattr: s.Features.UserXattr}
	}
	return s
}

// inUserNamespace reports whether this process is in a user namespace other than
// the initial one, which maps every id to itself. That never changes.
var inUserNamespace = sync.OnceValue(func() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	m := strings.Fields(string(text))
	return err == nil && !slices.Equal(m, []string{"0", "0", "4294967295"})
})
