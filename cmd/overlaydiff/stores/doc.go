//go:build linux

// Package stores reads how container runtimes keep containers on disk: which
// containers there are, which layers the overlay of each one has, and the sizes
// of the image layers. It asks no daemon and takes no lock: a stopped
// runtime gives the same answer as a running one.
//
//   - [Docker], [Containerd], [ContainersStorage] (Podman, Buildah, CRI-O) and
//     [ISulad] describe a store by its directory. [Find] looks for all stores of a
//     node.
//   - [Store.Containers] lists the containers of a store. [Resolve] finds a container by
//     its name or the beginning of its id.
//
// Stores are untrusted, because root may read the store of an ordinary user. An
// id becomes part of a path only if it is a plain name. Every path is resolved by
// descriptor, and files that are opened in a user's store belong to that user. Only regular
// files are read, up to a bound. Chains of parents end. The layers of a container
// are always opened in the same way (Container.Stack.Opener), and [Container.Owner] names
// the user who controls this information. If a container is damaged, or was removed
// meanwhile, its entry has the error ([Container.Err]), and the other containers are
// listed nevertheless.
//
// [Layer] defines the terms for ids of layers. Package stores does not know
// mounts without a store, and does not read the contents of layers: the sizes of image
// layers are those that the runtime recorded.
//
// All functions may be called by several goroutines at once.
package stores
