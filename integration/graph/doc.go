// Package graph has what the graph drivers of moby and of containers/storage share when
// overlaydiff answers for them: from a driver that keeps and mounts layers, it makes the
// diff from any of its layers, or from nothing, to any other, and it unpacks layers.
//
// A layer over its parent is read from the layer directories, without a mount. Every
// other pair, and what can't be read so, is mounted by the driver and compared as two
// trees. A diff frees all that it took when it is closed.
//
// It knows no driver: integration/moby and integration/storage, modules of their own,
// are the two that use it, and docs/drivers.md tells how another does. Locks are the
// driver's business.
package graph
