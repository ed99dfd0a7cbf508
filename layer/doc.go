// Package layer reads and writes OCI image layers: tar archives of the changes of a
// layer, with whiteouts for deletions.
//
// [Export] writes the changes that an engine finds as an archive, as a
// stream: parents before children, hard links as links. Extended attributes and
// times to the nanosecond are PAX records, written only where they are needed. Equal views give
// equal bytes with either engine.
//
// [Apply] unpacks a layer into a directory, either as programs see the tree
// ([Plain]) or as a layer directory of overlayfs ([Overlay]). Layers are untrusted: no name
// in a layer, and no symbolic link that this or an earlier layer
// created, leads out of the directory. One file, tree.go, turns a name into an open directory
// and a last component; all other code works relative to that directory.
//
// Rules: OCI image-spec, layer.md ("Applying changesets"); extended attributes as
// star and GNU tar record them (SCHILY.xattr.*); marks of overlayfs as in package
// whiteout.
//
// The package does not coordinate with other writers of the same tree. If two processes apply
// into one directory at once, both stay inside the directory, but the resulting tree is undefined.
package layer
