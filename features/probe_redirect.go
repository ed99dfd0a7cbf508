package features

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// redirectProbes are about what copy-up and rename write into the upper layer.
var redirectProbes = []probe{{
	name: "opaque_copy_up", group: groupOverlay, depends: onDir, since: "4.8", needs: aMount,
	asks:    "copy-up leaves the opaque mark of a lower directory behind",
	how:     "writes into a directory that is opaque in a middle layer and reads the mark of its copy",
	follows: "an upper directory can hide files of the layers below it that nobody deleted: update the kernel",
	source:  "commit 0956254a2d5b",
	run:     onPrepared(nil, tryOpaque),
}, {
	name: "redirect_dir_default", group: groupOverlay, depends: onDir, since: "4.10", needs: aMount,
	asks:    "lower directories can be renamed, by default",
	how:     "renames one in an overlay mounted without redirect_dir and looks for the mark",
	follows: "rename gives EXDEV, and programs copy the directory instead; mount with redirect_dir=on to have it",
	source:  "CONFIG_OVERLAY_FS_REDIRECT_DIR, overlay.redirect_dir",
	run:     onPrepared(nil, tryRename),
}, {
	name: "redirect_dir", group: groupOverlay, depends: onDir, since: "4.10", needs: aMount,
	asks:    "lower directories can be renamed with redirect_dir=on",
	how:     "renames one in an overlay mounted with redirect_dir=on and looks for the mark",
	follows: "rename of a lower directory gives EXDEV, and programs copy it",
	run:     on([]string{"redirect_dir=on"}, []string{"l1/d/"}, tryRename),
}, {
	name: "redirect_follow_default", group: groupOverlay, depends: onDir, since: "4.10", needs: aMount,
	asks:    "redirects in layers are followed, by default",
	how:     "looks a directory up that a lower layer redirects to another name",
	follows: "layers that were written with redirect_dir=on must be mounted with redirect_dir=on or follow, else names are missing",
	source:  "CONFIG_OVERLAY_FS_REDIRECT_ALWAYS_FOLLOW, overlay.redirect_always_follow",
	run:     probeFollow,
}, {
	name: "metacopy_default", group: groupOverlay, depends: onDir, since: "4.19", needs: aMount,
	asks:    "changing metadata copies metadata only, by default",
	how:     "changes the mode of a lower file in an overlay mounted without metacopy and looks for the mark",
	follows: "chmod and chown copy the whole file to the upper layer",
	source:  "CONFIG_OVERLAY_FS_METACOPY, overlay.metacopy",
	run:     onPrepared(nil, tryChmod),
}, {
	name: "metacopy", group: groupOverlay, depends: onDir, since: "4.19", needs: aMount,
	asks:    "changing metadata copies metadata only, with metacopy=on",
	how:     "changes the mode of a lower file in an overlay mounted with metacopy=on and looks for the mark",
	follows: "chmod and chown copy the whole file to the upper layer",
	run:     on([]string{"metacopy=on"}, []string{"l1/f"}, tryChmod),
}, {
	name: "index_default", group: groupOverlay, depends: onDir, since: "4.13", needs: aMount,
	asks:    "copy-up keeps hard links together, by default",
	how:     "writes one of two hard-linked lower files in an overlay mounted without index, and reads the other",
	follows: "writing one name of a hard-linked lower file leaves the other names with the old content",
	source:  "CONFIG_OVERLAY_FS_INDEX, overlay.index",
	run:     onPrepared(nil, tryLinks),
}, {
	name: "index", group: groupOverlay, depends: onDir, since: "4.13", needs: aMount,
	asks:    "copy-up keeps hard links together, with index=on",
	how:     "writes one of two hard-linked lower files in an overlay mounted with index=on, and reads the other",
	follows: "writing one name of a hard-linked lower file leaves the other names with the old content",
	run:     on([]string{"index=on"}, []string{"l1/a", "l1/b<l1/a"}, tryLinks),
}, {
	name: "nfs_export", group: groupOverlay, depends: onDir, since: "4.16", needs: aMount,
	asks:    "files of an overlay have file handles, with nfs_export=on",
	how:     "asks for the handle of a file in an overlay mounted with nfs_export=on",
	follows: "overlays can't be exported by NFS",
	run:     on([]string{"index=on", "nfs_export=on"}, []string{"l1/f"}, tryExport),
}}

// onPrepared calls try with the overlay that is prepared with these options.
func onPrepared(options []string, try func(s *session, o *prepared) error) func(context.Context, *session) error {
	return func(_ context.Context, s *session) error {
		o, err := s.prepared(options...)
		if err != nil {
			return err
		}
		return try(s, o)
	}
}

func tryOpaque(_ *session, o *prepared) error {
	if o.opaque != nil {
		return unsure(o.opaque)
	}
	if err := os.WriteFile(o.mounted.in("o/f"), nil, 0o600); err != nil {
		return err
	}
	if mark, _, err := get(o.place.in("u/o"), o.prefix+"opaque"); err != nil || mark == "y" {
		return orNo(err, "the copy in the upper layer is marked opaque, too")
	}
	return nil
}

// orNo is err if there is one, else a no.
func orNo(err error, reason string) error {
	if err != nil {
		return err
	}
	return no("%s", reason)
}

// on calls try with an overlay that is mounted with the options over a layer
// with what the words name.
func on(opts []string, words []string, try func(s *session, o *prepared) error) func(context.Context, *session) error {
	return func(_ context.Context, s *session) error {
		p, err := s.place()
		if err != nil {
			return err
		}
		if err := p.make(words...); err != nil {
			return err
		}
		m, err := s.upper(p, opts...)
		if err != nil {
			return err
		}
		defer m.close()
		return try(s, &prepared{place: p, mounted: m, prefix: s.mark("")})
	}
}

func tryRename(_ *session, o *prepared) error {
	err := os.Rename(o.mounted.in("d"), o.mounted.in("e"))
	if errors.Is(err, unix.EXDEV) {
		return no("rename gives EXDEV")
	}
	if err != nil {
		return err
	}
	if mark, _, err := get(o.place.in("u/e"), o.prefix+"redirect"); err != nil || mark != "d" {
		return orNo(err, "the renamed directory has no redirect mark")
	}
	return nil
}

func tryChmod(_ *session, o *prepared) error {
	if err := os.Chmod(o.mounted.in("f"), 0o600); err != nil {
		return err
	}
	if _, ok, err := get(o.place.in("u/f"), o.prefix+"metacopy"); err != nil || !ok {
		return orNo(err, "the file was copied whole")
	}
	return nil
}

func tryLinks(_ *session, o *prepared) error {
	if err := os.WriteFile(o.mounted.in("a"), []byte("other\n"), 0); err != nil {
		return err
	}
	if b, err := os.ReadFile(o.mounted.in("b")); err != nil || string(b) != "other\n" {
		return orNo(err, "the other name shows the old content")
	}
	return nil
}

func tryExport(_ *session, o *prepared) error {
	_, err := sys.HandleAt(o.fd, "f")
	if errors.Is(err, unix.EOPNOTSUPP) {
		return no("files have no handle: the kernel turned nfs_export off, as it does where a layer's file system has none")
	}
	return err
}

func probeFollow(_ context.Context, s *session) error {
	p, err := s.place()
	if err != nil {
		return err
	}
	if err := p.make("l1/d/", "l2/e/f"); err != nil {
		return err
	}
	if err := set(p.in("l1/d"), s.mark("redirect"), "e"); err != nil {
		return unsure(err)
	}
	m, err := s.lowers(p, "l1:l2")
	if err != nil {
		return err
	}
	defer m.close()
	_, err = os.Lstat(m.in("d/f"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return no("the directory shows nothing of the one that it is redirected to")
	case errors.Is(err, unix.EPERM): // 6.16, and before if there is a target
		return no("looking up the redirected directory gives EPERM")
	}
	return err
}
