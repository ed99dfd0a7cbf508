// Package layer reads and writes OCI image layers: tar archives of what a layer
// changes, with whiteouts for what it removes.
//
// [Export] writes the changes that an engine finds as such an archive, as a
// stream: parents before children, hard links as links, extended attributes and
// times to the nanosecond as PAX records where there are any. Equal views give
// equal bytes, whichever engine reads them.
//
// [Apply] unpacks a layer into a directory, either as programs see the tree
// ([Plain]) or as a layer directory of overlayfs ([Overlay]). What a layer says
// is untrusted: no name in it, and no symbolic link that it or an earlier layer
// made, leads out of the directory. One place turns names into an open directory
// and the last name in it (tree.go), and all else works from there.
//
// Rules: OCI image-spec, layer.md ("Applying changesets"); extended attributes as
// star and GNU tar record them (SCHILY.xattr.*); marks of overlayfs as package
// whiteout has them.
//
// Nothing here follows what others do to the same tree meanwhile: two who apply
// into one directory at once both stay inside, but the tree is nobody's.
package layer
