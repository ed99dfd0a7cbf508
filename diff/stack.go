package diff

// Stack describes an overlay: its layer directories and what its mount options
// make of their markers. It is a description only; whether the directories
// exist is found out by whoever opens them.
type Stack struct {
	// Lower has the lower layers, topmost first.
	Lower []string
	// Data has the data-only lower layers (what follows "::"), first searched first.
	Data []string
	// Upper is the upper directory, Work the work directory. A read-only
	// overlay has neither.
	Upper, Work string
	// Features tells how the markers in the layers are to be read.
	Features Features
	// Mountpoint is a path at which the overlay is mounted now, "" if that is
	// not known.
	Mountpoint string
	// Unknown has the mount options that overlaydiff does not know: they may
	// change the meaning of the layers.
	Unknown []string
}

// Features are the overlayfs features that decide how a layer is read. What
// they say holds whatever the layers contain: on a mount without userxattr a
// user.overlay.* attribute is a container's own data and marks nothing.
type Features struct {
	UserXattr      bool // markers are user.overlay.* instead of trusted.overlay.*
	RedirectFollow bool // redirects are followed (redirect_dir=on or follow)
	Metacopy       bool // metacopy files are resolved
	Index          bool // hard links of lower files are tied together by the index in the work directory
	NFSExport      bool // every copied-up inode is indexed and checked against its origin
}
