// Package rawgen makes layer stacks as no kernel writes them: by setxattr, mknod and
// link in the layers themselves, with valid and invalid values of every overlay mark in
// either namespace on any inode of any layer, and with entries of the inode index that
// lie. Privileged containers, image authors and broken tools leave such layers.
//
// A [Case] comes of a seed and is a shell script as well. What a mount shows of it is
// package rawref's to read.
package rawgen
