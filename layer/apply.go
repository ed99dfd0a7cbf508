package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// Form is what kind of tree a layer is unpacked to.
type Form string

// The forms of a tree.
const (
	// Plain is a tree as programs see it: whiteouts remove.
	Plain Form = "plain"
	// Overlay is a layer directory of overlayfs: whiteouts are put as marks.
	Overlay Form = "overlay"
)

// WhiteoutAs is how the Overlay form marks what a layer removes.
type WhiteoutAs string

// The marks for removed names.
const (
	// AutoWhiteout is DeviceWhiteout, or XattrWhiteout where making devices is not
	// permitted.
	AutoWhiteout WhiteoutAs = ""
	// DeviceWhiteout is a character device 0:0, which all kernels understand.
	DeviceWhiteout WhiteoutAs = "device"
	// XattrWhiteout is an empty file with an extended attribute (Linux 6.7), which
	// can be in a directory that is on an overlay itself.
	XattrWhiteout WhiteoutAs = "xattr"
)

// Xattrs says which extended attributes a layer carries.
type Xattrs string

// The choices of extended attributes.
const (
	XattrsAll  Xattrs = "all"  // also the zero value
	XattrsOCI  Xattrs = "oci"  // security.capability alone, as all peers have it
	XattrsNone Xattrs = "none" //
)

// ApplyOptions are the options of [Apply].
type ApplyOptions struct {
	Form Form // "" means [Plain]
	// UserXattr: overlays with this tree as a layer are mounted with userxattr, so
	// their marks are user.overlay.* attributes.
	UserXattr bool
	// Whiteouts is how removed names are marked in Overlay form.
	Whiteouts WhiteoutAs
	// Digest is the expected digest of the input as it is read, DiffID that of the
	// tar in it. Empty ones are not checked.
	Digest, DiffID digest.Digest
	// NoDigests leaves out digests that are not expected, for who makes them otherwise.
	NoDigests bool
	// UIDs and GIDs map the ids in the layer to those of the host, in access control
	// lists and capabilities, too. Without any, ids are what they are.
	UIDs, GIDs []IDMap
	// Xattrs chooses among the extended attributes in the layer.
	Xattrs Xattrs
	// KeepMarks sets attributes that are named like overlayfs's marks in a Plain tree,
	// too, which must never become a layer then.
	KeepMarks bool
	// SkipDevices leaves out character and block devices, which in a user namespace
	// nobody may make.
	SkipDevices bool
}

// Applied says what [Apply] did.
type Applied struct {
	Entries   int64 `json:"entries"`   // in the tar, whiteouts and all
	Bytes     int64 `json:"bytes"`     // of regular files, holes included
	Whiteouts int64 `json:"whiteouts"` // names removed or marked as removed, whether or not they were there
	Opaque    int64 `json:"opaque"`    // directories whose content of lower layers is hidden
	// Skipped counts what was left out: devices and extended attributes by choice of
	// the options, attributes bound to another host (security.selinux, ima and evm),
	// attributes that Linux has not (com.apple.*, NFS4 lists) or this file system has
	// not (user.* and trusted.* only), entries of access control lists for users and
	// groups whose ids the layer does not have, and aufs' own files. No access is
	// granted because of it.
	Skipped int64 `json:"skipped"`
	// LeftOut has the same by name: of the attribute, "devices" or "aufs". Of more than
	// a hundred names the rest is one, "others".
	LeftOut map[string]int64 `json:"left_out,omitempty"`
	// Inexpressible counts what the form can't say: the Overlay form can't hide what
	// is below the root directory itself, the kernel ignores that mark.
	Inexpressible int64         `json:"inexpressible"`
	Digest        digest.Digest `json:"digest"`  // of the input as read
	DiffID        digest.Digest `json:"diff_id"` // of the tar in it
	Compression   Compression   `json:"compression"`
	WhiteoutsAs   WhiteoutAs    `json:"whiteouts_as"` // how they were marked; empty if none were
}

// ApplyError is the error of an [Apply] that had begun to write.
type ApplyError struct {
	Dir     string
	Applied Applied // until then; without digests
	// Left says that a part of the layer is in the directory. To apply the layer
	// again makes the tree right.
	Left bool
	Err  error
}

func (e *ApplyError) Error() string {
	s := fmt.Sprintf("apply a layer to %s: %v (after %d entries and %d bytes; ", diff.QuotePath(e.Dir), e.Err, e.Applied.Entries, e.Applied.Bytes)
	switch {
	case !e.Left:
		s += "nothing of it is left)"
	default:
		s += "the tree is incomplete: apply the layer again)"
	}
	if errors.Is(e.Err, syscall.ENOSPC) || errors.Is(e.Err, syscall.EDQUOT) {
		s += ": make room on the file system, or raise the quota"
	}
	return s
}

func (e *ApplyError) Unwrap() error { return e.Err }

// Apply unpacks the layer that r gives, a tar archive, plain or compressed with
// gzip or zstd, into the directory dir. r is read to its end.
//
// If dir does not exist or is empty, the layer is unpacked beside it and renamed
// when it is whole: there is all of it or nothing. (Not where dir is a mount point
// or subvolume, or its parent can't be written to, or dir is ".": then it is emptied again after
// a failure.) Otherwise dir is what the lower layers are, and is changed in place:
// an error may leave part of the layer there, and applying it again makes the
// tree right. Nothing is synced to disk.
//
// Symbolic links in dir are followed, but for those that another user put into a
// directory where others may write, too (such as /tmp): the error then matches
// [fs.ErrPermission].
//
// Entries replace what is there unless both are directories, which only get the
// metadata of the entry. A whiteout removes what lower layers have, not what this
// layer has put there, in whatever order. Modification times are set to the
// nanosecond; access times are those of modification where the layer has none.
// A directory that the layer changes but does not list keeps its times; a missing
// one is made with mode 0755 and owner 0:0. A hard link is one more name of what
// is there: its header changes nothing.
//
// Names are relative to dir whatever they begin with; one that leads out of it is
// an error, as is an archive without its end mark (unless a given digest says that
// it is whole). Symbolic links on the way to an entry are followed as if dir were
// the root directory, and into no other mount.
//
// Extended attributes with the name of a mark of overlayfs (trusted.overlay.*, or
// user.overlay.* with UserXattr) are a program's own data and must not become marks. The
// Overlay form stores them escaped, as the kernel does since 6.7. The Plain form sets
// them if dir is on an overlay, where the kernel escapes them, and refuses them
// elsewhere, for the tree may become a layer, unless KeepMarks says otherwise. Devices 0:0 are whiteouts, so they are
// refused.
//
// Apply needs the privileges to change owners and make devices: root, or root of
// a user namespace with SkipDevices. It may be called from several goroutines, but
// not for one directory. When ctx is done it ends as soon as r's Read returns.
//
// Memory is bounded, some 10 MiB, but for the window of a zstd archive (at most 128
// MiB) and, when dir is not empty, 16 bytes and what a map needs for each entry.
func Apply(ctx context.Context, r io.Reader, dir string, opts ApplyOptions) (Applied, error) {
	if opts.Form == "" {
		opts.Form = Plain
	}
	if err := opts.check(); err != nil {
		return Applied{}, err
	}
	st, err := openStage(dir, diff.IDMap{Users: opts.UIDs, Groups: opts.GIDs})
	if err != nil {
		return Applied{}, fmt.Errorf("apply a layer to %s: %w", diff.QuotePath(dir), err)
	}
	return st.apply(ctx, r, dir, opts)
}

// ApplyAt is [Apply] in place to the directory that is open as dirfd, which stays
// the caller's. name is what errors call it.
func ApplyAt(ctx context.Context, r io.Reader, dirfd int, name string, opts ApplyOptions) (Applied, error) {
	if opts.Form == "" {
		opts.Form = Plain
	}
	if err := opts.check(); err != nil {
		return Applied{}, err
	}
	fd, err := sys.OpenDirAt(dirfd, ".")
	if err != nil {
		return Applied{}, fmt.Errorf("apply a layer to %s: %w", diff.QuotePath(name), err)
	}
	st := &stage{fd: fd, ids: diff.IDMap{Users: opts.UIDs, Groups: opts.GIDs}}
	return st.apply(ctx, r, name, opts)
}

// apply unpacks r and closes the stage.
func (s *stage) apply(ctx context.Context, r io.Reader, dir string, opts ApplyOptions) (Applied, error) {
	defer s.close() // after a panic of r, too
	out, err := applyTo(ctx, r, s, opts)
	if err == nil {
		err = s.commit()
	}
	if err == nil {
		return out, nil
	}
	out.Digest, out.DiffID = "", ""
	left, rerr := s.undo()
	return out, &ApplyError{Dir: dir, Applied: out, Left: left, Err: errors.Join(err, rerr)}
}

func (o *ApplyOptions) check() error {
	switch {
	case o.Form != Plain && o.Form != Overlay:
		return fmt.Errorf("apply a layer: form %q is neither %q nor %q", o.Form, Plain, Overlay)
	case o.Whiteouts != AutoWhiteout && o.Whiteouts != DeviceWhiteout && o.Whiteouts != XattrWhiteout:
		return fmt.Errorf("apply a layer: whiteouts as %q: want %q, %q or nothing", o.Whiteouts, DeviceWhiteout, XattrWhiteout)
	case o.Xattrs != "" && o.Xattrs != XattrsAll && o.Xattrs != XattrsOCI && o.Xattrs != XattrsNone:
		return fmt.Errorf("apply a layer: extended attributes %q: want %q, %q or %q", o.Xattrs, XattrsAll, XattrsOCI, XattrsNone)
	}
	for _, d := range []digest.Digest{o.Digest, o.DiffID} {
		if d == "" {
			continue
		}
		if err := d.Validate(); err != nil {
			return fmt.Errorf("apply a layer: digest %q: %w", d, err)
		}
	}
	return nil
}

// applier is one Apply.
type applier struct {
	opts    ApplyOptions
	marks   *whiteout.Namespace
	ids     diff.IDMap // to the host
	onto    bool       // the tree is on an overlay, which escapes marks
	tree    *tree
	ours    *names
	files   *filler
	stop    func() error
	touched *bool // set when the tree is about to change
	global  globals
	left    leftOut
	out     Applied
}

func applyTo(ctx context.Context, r io.Reader, st *stage, opts ApplyOptions) (_ Applied, err error) {
	a := &applier{
		opts:    opts,
		marks:   whiteout.NamespaceOf(diff.Features{UserXattr: opts.UserXattr}),
		ids:     st.ids,
		onto:    sys.IsOverlay(st.fd),
		ours:    newNames(!st.fresh),
		stop:    ctx.Err,
		touched: &st.touched,
	}
	if a.tree, err = newTree(st.fd, a.adopt); err != nil {
		return a.out, err
	}
	defer func() { err = errors.Join(err, a.tree.leave()) }()
	in := openInput(ctx, r, opts)
	defer in.close()
	a.files = newFiller()
	defer a.files.wait() // after a panic of r, too
	err = a.entries(ctx, in)
	if ferr := a.files.wait(); errors.Is(err, errFill) || err == nil {
		err = ferr
	}
	a.out.Skipped, a.out.LeftOut = a.left.counts()
	if err != nil {
		return a.out, err
	}
	a.out.Compression, a.out.Digest, a.out.DiffID, err = in.finish()
	return a.out, err
}

// entries applies all entries of the archive.
func (a *applier) entries(ctx context.Context, in *input) error {
	t := tar.NewReader(in)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := t.Next()
		if err == io.EOF {
			return in.ended()
		}
		if err != nil {
			return in.wrong(err, a.out.Entries)
		}
		if ok, err := a.prepare(h); err != nil {
			return err
		} else if !ok {
			continue
		}
		*a.touched = true
		if err := a.entry(ctx, h, t); err != nil {
			return fmt.Errorf("entry %s: %w", quote(h.Name), in.wrong(err, a.out.Entries))
		}
		a.out.Entries++
	}
}
