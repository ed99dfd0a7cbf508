// Package storage is a graph driver for containers/storage, "overlaydiff": its overlay
// driver keeps and mounts the layers, and overlaydiff tells what is in them, and unpacks
// them. A program has it by importing the package.
//
// A layer over its parent is read natively, whatever overlayfs has put there. overlay
// mounts both and compares whole trees where redirect_dir or metacopy is on, and its own
// way to read an upper directory keeps no access control lists.
//
// Where layers are not what the kernel's overlayfs sees, that is with the options
// mount_program, force_mask and ignore_chown_errors, and where the ids of two layers are
// mapped in different ways, overlay answers itself. It also unpacks what a store unpacks
// into a staging directory before it has the layer: nobody else can, the types are
// internal.
package storage
