//go:build linux

// Package stores reads how container runtimes keep containers on disk: which
// containers there are, of which layers each one's overlay consists, and how
// large the image layers are. It asks no daemon and takes no lock: a stopped
// runtime gives the same answer as a running one.
//
//   - [Docker], [Containerd], [ContainersStorage] (Podman, Buildah, CRI-O) and
//     [ISulad] describe a store by its directory; [Find] looks for all stores of a
//     node.
//   - [Store.Containers] lists the containers of one, [Resolve] finds one by its
//     name or the beginning of its id.
//
// Nothing in a store is trusted, since a user's own store may be read by root:
// ids become part of a path only if they are plain names; every path is resolved by
// descriptor, and what is opened in a user's store is the user's; files are read up to
// a bound and only if they are regular; chains of parents end. The layers of a container
// are opened the same way each time (Container.Stack.Opener), and [Container.Owner] says
// whose word all of it is. What is wrong with
// one container, or was removed meanwhile, is an error in its entry
// ([Container.Err]), and the others are listed all the same.
//
// The terms of the field are kept apart, see [Layer]. Package stores knows
// neither mounts without a store nor what is in the layers: sizes of the image
// layers are those that the runtime wrote down.
//
// All functions may be called by several goroutines at once.
package stores
