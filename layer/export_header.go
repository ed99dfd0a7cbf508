package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/idmap"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// carries reports whether an attribute is carried.
func (x Xattrs) carries(name string) bool {
	switch x {
	case XattrsOCI:
		return name == "security.capability"
	case XattrsNone:
		return false
	}
	return true
}

// entry is one entry of the archive.
type entry struct {
	diff.Entry
	path     string
	payload  diff.Payload
	group    *group // of a file with several names
	whiteout bool

	// Of the content, set when it is opened.
	file   diff.OpenFile
	open   bool
	large  bool         // and one of those of which there are few
	refs   atomic.Int64 // pieces that are not read yet
	failed bool
	more   bool // and has more than its reader read; the writer reads that
}

var typeFlags = map[diff.Type]byte{
	diff.File: tar.TypeReg, diff.Dir: tar.TypeDir, diff.Symlink: tar.TypeSymlink,
	diff.Char: tar.TypeChar, diff.Block: tar.TypeBlock, diff.Fifo: tar.TypeFifo,
}

// header appends the blocks that precede an entry's content. linkTo is what it is
// a hard link to; "" means that it is none.
func (x *exporter) header(to []byte, e *entry, linkTo string) ([]byte, error) {
	h := tar.Header{Format: tar.FormatPAX, Name: strings.TrimPrefix(e.path, "/"), Typeflag: tar.TypeReg}
	if e.whiteout { // the same whoever deleted what, and when
		h.ModTime = time.Unix(0, 0)
		return encode(to, &h)
	}
	h.Mode = int64(e.Mode)
	h.Typeflag = typeFlags[e.Type]
	h.ModTime = time.Unix(e.Mtime.Sec, int64(e.Mtime.Nsec))
	if !x.opts.Latest.IsZero() && h.ModTime.After(x.opts.Latest) {
		h.ModTime = x.opts.Latest
	}
	if err := x.own(&h, e); err != nil {
		return nil, err
	}
	switch {
	case linkTo != "":
		h.Typeflag, h.Linkname = tar.TypeLink, strings.TrimPrefix(linkTo, "/")
	case e.Type == diff.File:
		h.Size = e.file.Size
	case e.Type == diff.Dir:
		h.Name += "/"
	case e.Type == diff.Symlink:
		var err error
		if h.Linkname, err = e.payload.Target(); err != nil {
			return nil, err
		}
	case e.Type == diff.Char || e.Type == diff.Block:
		h.Devmajor, h.Devminor = sys.MajorMinor(e.Rdev)
	}
	if err := x.xattrs(&h, e); err != nil {
		return nil, err
	}
	if linkTo == "" && (e.Type == diff.File || e.Type == diff.Dir) {
		if err := x.attributes(e); err != nil {
			return nil, err
		}
	}
	return encode(to, &h)
}

// attributes notes the attributes of a file that layers have no place for.
func (x *exporter) attributes(e *entry) error {
	letters, err := e.payload.Attributes()
	if err == nil && letters != "" {
		x.inexpressible(e.path, diff.WhatAttributes, "the attributes "+letters+" of the file (lsattr)")
	}
	return err
}

// own sets the owner.
func (x *exporter) own(h *tar.Header, e *entry) error {
	if !sys.KnowsOwner(e.UID, e.GID) {
		return &diff.UnsupportedError{
			Op:     "export the owner of " + diff.QuotePath(e.path),
			Reason: "it has no id in this user namespace; run where it has one",
		}
	}
	uid, err := idmap.User(x.ids, int64(e.UID))
	if err != nil {
		return exportError(e.path, "owner", err)
	}
	gid, err := idmap.Group(x.ids, int64(e.GID))
	h.Uid, h.Gid = int(uid), int(gid)
	return exportError(e.path, "owner", err)
}

// exportError says at which entry an export failed, and at what of it; nil stays
// nil.
func exportError(path, what string, err error) error {
	if err == nil {
		return nil
	}
	if no := (*idmap.UnmappedError)(nil); errors.As(err, &no) {
		return &UnmappedError{Path: path, What: what, Kind: no.Kind, ID: no.ID}
	}
	return fmt.Errorf("export %s: %s: %w", diff.QuotePath(path), what, err)
}

// xattrs sets the extended attributes. A link repeats those of its inode: who
// unpacks it may change the owner, which takes capabilities away.
func (x *exporter) xattrs(h *tar.Header, e *entry) error {
	if x.opts.Xattrs == XattrsNone {
		return nil
	}
	list, err := e.payload.Xattrs()
	if err != nil {
		return err
	}
	for _, a := range list {
		if !x.opts.Xattrs.carries(a.Name) {
			continue
		}
		if why := unfit(a.Name); why != "" {
			x.inexpressible(e.path, diff.WhatXattrs, "the extended attribute "+diff.QuotePath(a.Name)+": "+why)
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		value, err := idmap.Xattr(x.ids, a.Name, a.Value)
		if err != nil {
			return exportError(e.path, a.Name, err)
		}
		h.PAXRecords[paxXattr+a.Name] = string(value)
	}
	return nil
}

// unfitType says why a layer can't have what an entry is, "" if it can.
func unfitType(e *diff.Entry) string {
	switch {
	case e.Type == diff.Socket:
		return "sockets are made by programs that listen, layers have none"
	case e.Type == diff.Char && e.Rdev == 0:
		return "a character device 0:0 is a whiteout of overlayfs, layers have none"
	}
	return ""
}

// unfit says why a layer can't have an attribute of this name, "" if it can.
func unfit(name string) string {
	space, _, _ := strings.Cut(name, ".")
	switch {
	case strings.Contains(name, "="):
		return "in a layer a = ends the name"
	case name == idmap.ACLAccess || name == idmap.ACLDefault:
	case space != "user" && space != "trusted" && space != "security":
		return "it is one of this file system only"
	}
	return ""
}

// encode appends a header as archive/tar writes it.
func encode(to []byte, h *tar.Header) ([]byte, error) {
	if to, ok := encodeUsual(to, h); ok {
		return to, nil
	}
	b := bytes.NewBuffer(to)
	if err := tar.NewWriter(b).WriteHeader(h); err != nil {
		return nil, exportError("/"+h.Name, "make its header", err)
	}
	return b.Bytes(), nil
}

// ignoreRaced makes nothing of an error that says that something vanished.
func ignoreRaced(err error) error {
	if errors.Is(err, diff.ErrRaced) {
		return nil
	}
	return err
}
