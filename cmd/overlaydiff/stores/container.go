//go:build linux

package stores

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Runtime names what made a container.
type Runtime string

// The runtimes.
const (
	RuntimeDocker  Runtime = "docker"
	RuntimePodman  Runtime = "podman"
	RuntimeBuildah Runtime = "buildah"
	RuntimeCRIO    Runtime = "cri-o"
	RuntimeISulad  Runtime = "isulad"
	// RuntimeContainerd is containerd itself; its clients (Kubernetes, nerdctl, ctr)
	// are told apart by Container.Namespace.
	RuntimeContainerd Runtime = "containerd"
)

// State is what a container does, as far as files and /proc tell.
type State string

// The states. Podman, Buildah and CRI-O keep the state in a database or with
// the OCI runtime: there it is Running, Exited, Stopped or Unknown.
const (
	Unknown    State = ""
	Created    State = "created" // was never started
	Running    State = "running"
	Paused     State = "paused"
	Restarting State = "restarting"
	Exited     State = "exited"
	Stopped    State = "stopped" // has no process, and may never have had one
	Dead       State = "dead"    // could not be removed
)

// Container is a container with its own layer and those of its image.
type Container struct {
	Runtime Runtime
	// Owner is the user whose store has it. What it says of itself is that user's
	// word; the zero value is root.
	Owner Owner
	// Namespace is containerd's ("k8s.io", "moby", "default"), "" elsewhere.
	Namespace string
	ID        string
	// Name is the first of Names, or the ID if it has none.
	Name string
	// Names are all names by which the runtime knows it. A container of a
	// Kubernetes pod also has the name NAMESPACE/POD/CONTAINER.
	Names []string
	// Image is the image's name as it was asked for, or its id if that is
	// all that is known; ImageID is the id.
	Image, ImageID string
	State          State
	// Created is when the container was made, zero if it is not known.
	Created time.Time
	// Pod is that of Kubernetes, zero if it is none's.
	Pod Pod
	// PID is the container's first process, 0 if none is known to run.
	PID int

	// Stack is the overlay. Its old view includes the init layer. Its features
	// are those of the mount if a process runs in it, else what the runtime
	// would mount with on this kernel.
	Stack diff.Stack
	// Fuse says that fuse-overlayfs mounts it, not the kernel.
	Fuse bool
	// RW is the read-write layer.
	RW Layer
	// Init is Docker's layer of mount points between the read-write layer and
	// the image; it is zero elsewhere. It counts neither as the container's nor
	// as the image's.
	Init Layer
	// Layers are the image's, topmost first.
	Layers []Layer

	// Err says what of this container could not be read. What was found
	// nonetheless is filled in.
	Err error
}

// Pod says which container of a pod of Kubernetes one is.
type Pod struct {
	Namespace, Name string
	// Container is "(sandbox)" for the one that holds the pod's namespaces.
	Container string
	// Attempt counts how often it was started again.
	Attempt uint32
}

// String returns NAMESPACE/POD/CONTAINER, "" for the zero value.
func (p Pod) String() string {
	if p.Name == "" {
		return ""
	}
	return p.Namespace + "/" + p.Name + "/" + p.Container
}

// Layer is one layer of a container. An identifier that the runtime does not
// use is "".
type Layer struct {
	// ID names the layer in containers/storage and iSulad.
	ID string
	// DiffID is the digest of the layer's tar archive, uncompressed.
	DiffID string
	// ChainID is the digest of the DiffIDs of the layer and of all below it, by
	// which Docker finds it.
	ChainID string
	// CacheID names the directory in which Docker's driver keeps the layer.
	CacheID string
	// SnapshotKey names the layer in containerd, within a namespace. That of an
	// image's layer is its chain ID.
	SnapshotKey string
	// Dir is the layer directory, as an overlay mounts it.
	Dir string
	// Below are further directories of the layer, topmost first, that an overlay mounts below
	// Dir: those of containers/storage for a layer that was copied for other ids.
	Below []string
	// Size is the size in bytes that the runtime wrote down, -1 if it wrote none.
	Size int64
	// IDs are those for which the layer was copied, with the owners that their containers
	// see mapped to the host's; zero: the owners are those of the image.
	IDs diff.IDMap
}

// ImageSize returns the sum of the sizes of the image's layers. SizeRootFs is
// this plus the usage of the upper directory. It reports false if the size of a
// layer is not known, or not all layers are.
func (c Container) ImageSize() (int64, bool) {
	var sum int64
	for _, l := range c.Layers {
		if l.Size < 0 || sum+l.Size < 0 {
			return 0, false
		}
		sum += l.Size
	}
	return sum, c.Err == nil
}

// sandbox is the name of the container that holds a pod's namespaces.
const sandbox = "(sandbox)"

// maxName is how long a name can be, and how many there can be: no runtime makes longer
// ones.
const (
	maxName  = 1024
	maxNames = 64
)

// setNames fills in the names, those of a pod as well.
func (c *Container) setNames(names []string) {
	c.Name = c.ID
	for _, name := range names {
		name = strings.TrimPrefix(name, "/")
		if name != "" && len(name) <= maxName {
			c.addName(name)
		}
	}
	if len(c.Names) == 0 {
		return
	}
	c.Name = c.Names[0]
	// k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT, as dockershim and CRI-O write it;
	// Kubernetes has no '_' in names.
	if p := strings.Split(c.Name, "_"); len(p) == 6 && p[0] == "k8s" {
		attempt, _ := strconv.ParseUint(p[5], 10, 32)
		c.Pod = Pod{Namespace: p[3], Name: p[2], Container: p[1], Attempt: uint32(attempt)}
		if c.Pod.Container == "POD" { // as dockershim and CRI-O call it
			c.Pod.Container = sandbox
		}
		c.addName(p[3] + "/" + p[2] + "/" + p[1])
	}
}

// addService adds the name PROJECT/SERVICE that Compose's labels say.
func (c *Container) addService(labels map[string]string) {
	project, service := labels["com.docker.compose.project"], labels["com.docker.compose.service"]
	if name := project + "/" + service; project != "" && service != "" && len(name) <= maxName {
		c.addName(name)
	}
}

func (c *Container) addName(name string) {
	if len(c.Names) < maxNames && !slices.Contains(c.Names, name) {
		c.Names = append(c.Names, name)
	}
}
