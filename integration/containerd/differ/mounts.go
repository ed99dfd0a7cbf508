//go:build linux

package differ

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff"
	odiff "github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// open opens the comparison of two mounts.
func open(ctx context.Context, lower, upper []mount.Mount) (*overlaydiff.Diff, error) {
	if dir, err := boundDir(upper); err == nil {
		return openFirst(ctx, lower, dir)
	}
	stack, err := stackOf(lower, upper)
	if err != nil {
		return nil, err
	}
	return overlaydiff.Open(ctx, stack, overlaydiff.Options{})
}

// openFirst opens the comparison of a first layer with nothing.
func openFirst(ctx context.Context, lower []mount.Mount, dir string) (*overlaydiff.Diff, error) {
	nothing, err := boundDir(lower)
	if err != nil {
		return nil, err
	}
	if empty, err := isEmpty(nothing); err != nil || !empty {
		return nil, errors.Join(err, decline("compare %s: it is no layer over %s", dir, nothing))
	}
	return overlaydiff.OpenTrees(ctx, nothing, dir, overlaydiff.Options{})
}

// stackOf returns the stack whose old view lower shows, and whose new view upper. If the
// layers of upper are id-mapped, those of lower are the same layers to the container, whether
// lower says so or not: clients ask for the parent without the labels of the snapshot.
func stackOf(lower, upper []mount.Mount) (odiff.Stack, error) {
	upper, ids, err := withoutIDs(upper)
	if err != nil {
		return odiff.Stack{}, err
	}
	lower, old, err := withoutIDs(lower)
	if err != nil {
		return odiff.Stack{}, err
	}
	if !old.IsZero() && !old.Equal(ids) {
		return odiff.Stack{}, decline("compare two snapshots with different ids")
	}
	s, err := pair(lower, upper)
	if err != nil || ids.IsZero() {
		return s, err
	}
	if len(s.Data) > 0 {
		return s, decline("compare %s: its layers are id-mapped, and some have only data", s.Upper)
	}
	s.Container, s.Owners = ids, map[string]odiff.IDMap{}
	for _, dir := range s.Lower {
		s.Owners[dir] = ids
	}
	if s.Work == "" {
		s.Owners[s.Upper] = ids // a lower layer, as it is mounted
	}
	return s, nil
}

// withoutIDs returns the mounts without the options uidmap and gidmap, and the ids in them:
// containerd has no such mount, but maps the lower layers of an overlay (core/mount,
// prepareIDMappedOverlay), if there are both.
func withoutIDs(mounts []mount.Mount) ([]mount.Mount, odiff.IDMap, error) {
	var ids odiff.IDMap
	bare := slices.Clone(mounts)
	for i := range bare {
		given := map[string]string{}
		bare[i].Options = slices.DeleteFunc(slices.Clone(bare[i].Options), func(o string) bool {
			name, value, _ := strings.Cut(o, "=")
			if name != "uidmap" && name != "gidmap" {
				return false
			}
			given[name] = value
			return true
		})
		users, errUsers := mountutil.ParseIDMap(given["uidmap"])
		groups, errGroups := mountutil.ParseIDMap(given["gidmap"])
		switch err := errors.Join(errUsers, errGroups); {
		case err != nil:
			return nil, ids, decline("map the owners of a snapshot: %v", err)
		case len(given) > 0 && (given["uidmap"] == "" || given["gidmap"] == ""):
			return nil, ids, decline("map the owners of a snapshot: it has no map for users, or none for groups")
		}
		ids = odiff.IDMap{Users: users, Groups: groups} // there is one mount, or all are declined
	}
	return bare, ids, nil
}

// pair is [stackOf] without id maps.
func pair(lower, upper []mount.Mount) (odiff.Stack, error) {
	s, err := overlayOf(upper)
	if err != nil {
		return s, err
	}
	if s.Upper == "" { // of a committed snapshot: the index is of no account in a lower layer
		s.Upper, s.Lower = s.Lower[0], s.Lower[1:]
		s.Features.Index, s.Features.NFSExport = false, false
		if hasXattrWhiteouts(s) {
			return s, decline("compare %s: it has whiteouts that only lower layers can have", s.Upper)
		}
	}
	below, err := layersOf(lower, s.Features)
	if err != nil {
		return s, err
	}
	if !slices.Equal(below.Lower, s.Lower) || !slices.Equal(below.Data, s.Data) {
		return s, decline("compare %s: the snapshot to compare with is not the one below it", s.Upper)
	}
	return s, nil
}

// hasXattrWhiteouts reports whether the upper directory is marked as a layer with
// whiteouts that are extended attributes, which the kernel (6.7) heeds in lower
// layers only.
func hasXattrWhiteouts(s odiff.Stack) bool {
	value := make([]byte, 1)
	n, err := unix.Getxattr(s.Upper, whiteout.NamespaceOf(s.Features).Opaque, value)
	return err == nil && string(value[:n]) == "x"
}

// layersOf returns the layers that a mount shows, of which a single one is bound.
// The features of an overlay must be f, but for what needs an upper directory.
func layersOf(mounts []mount.Mount, f odiff.Features) (odiff.Stack, error) {
	if dir, err := boundDir(mounts); err == nil {
		return odiff.Stack{Lower: []string{dir}}, nil
	}
	s, err := overlayOf(mounts)
	switch {
	case err != nil:
		return s, err
	case s.Upper != "":
		return s, decline("compare with %s: a snapshot that is being changed has no layer over it", s.Upper)
	}
	s.Features.Index, s.Features.NFSExport = f.Index, f.NFSExport
	if s.Features != f {
		return s, decline("compare two overlays: their mount options read the layers differently")
	}
	return s, nil
}

// single returns the mount if it is one of that type and covers the whole.
func single(mounts []mount.Mount, kind string) (mount.Mount, error) {
	if len(mounts) != 1 {
		return mount.Mount{}, decline("a snapshot of %d mounts", len(mounts))
	}
	if m := mounts[0]; m.Type == kind && m.Target == "" {
		return m, nil
	}
	return mount.Mount{}, decline("a mount of type %s", mounts[0].Type)
}

// boundDir returns the directory that is bound as a whole.
func boundDir(mounts []mount.Mount) (string, error) {
	m, err := single(mounts, "bind")
	if err != nil {
		return "", err
	}
	for _, o := range m.Options {
		switch o {
		case "ro", "rw", "bind", "rbind":
		default: // of an id-mapped snapshot, say
			return "", decline("bind %s with the option %s", m.Source, o)
		}
	}
	if !filepath.IsAbs(m.Source) {
		return "", decline("bind %s: its path is not absolute", m.Source)
	}
	return m.Source, nil
}

// overlayOf returns the stack of a single overlay.
func overlayOf(mounts []mount.Mount) (odiff.Stack, error) {
	m, err := single(mounts, "overlay")
	if err != nil {
		return odiff.Stack{}, err
	}
	s, err := overlaydiff.FromOptions(strings.Join(m.Options, ","))
	if err != nil {
		return s, declineUnsupported(err)
	}
	return s, checkPaths(slices.Concat(s.Lower, s.Data, []string{s.Upper}))
}

// checkPaths declines relative paths: they are relative to somebody else.
func checkPaths(paths []string) error {
	for _, p := range paths {
		if p != "" && !filepath.IsAbs(p) {
			return decline("read the layer %s: its path is not absolute", p)
		}
	}
	return nil
}

// writable returns the options of a single overlay that can be written to.
func writable(mounts []mount.Mount) (mountutil.Options, error) {
	m, err := single(mounts, "overlay")
	if err != nil {
		return mountutil.Options{}, err
	}
	o, err := mountutil.ParseOptions(strings.Join(m.Options, ","))
	switch {
	case err != nil:
		return o, declineUnsupported(err)
	case len(o.Unknown) > 0:
		return o, decline("mount an overlay with the option %s", o.Unknown[0])
	case o.Upper == "" || slices.Contains(o.Generic, "ro"):
		return o, decline("apply a layer to a read-only overlay")
	case len(o.Lower) == 0 || o.Work == "":
		// So containerd asks for layers to be unpacked side by side, before their
		// parents are there.
		return o, decline("apply a layer to %s alone: that is no overlay to mount", o.Upper)
	}
	if o.Fsync == "volatile" {
		o.Fsync = "" // it can be mounted once only, and that is for the container
	}
	return o, checkPaths(slices.Concat(o.Lower, o.Data, []string{o.Upper, o.Work}))
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}
