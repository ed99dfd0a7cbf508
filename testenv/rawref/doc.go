// Package rawref reads what the kernel's own mounts show of layers that package rawgen
// wrote, errors of single names included, and says what an engine may answer. It
// shares no code with an engine or with the generator: it uses os, syscall and xattrs.
//
// Some of what overlayfs answers depends on what it has cached: of two names that lead
// to one lower inode, the second one is ESTALE. So every name is looked up after the
// mount has forgotten all others.
package rawref
