package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // registers "deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // registers "rpm"
)

// nfpmArch has the names that nfpm gives architectures where they are not Go's. Go builds for
// ARMv7 unless GOARM says otherwise.
var nfpmArch = map[string]string{"arm": "arm7"}

// packages writes the .deb and the .rpm of an architecture.
func (r *release) packages(arch string) error {
	for _, format := range []string{"deb", "rpm"} {
		info, err := r.packageInfo(arch)
		if err != nil {
			return err
		}
		packager, err := nfpm.Get(format)
		if err != nil {
			return err
		}
		if err := nfpm.PrepareForPackager(info, format); err != nil {
			return fmt.Errorf("%s for %s: %w", format, arch, err)
		}
		err = r.create(packager.ConventionalFileName(info), func(f *os.File) error { return packager.Package(info, f) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *release) packageInfo(arch string) (*nfpm.Info, error) {
	contents := files.Contents{
		r.file(r.binary(arch), "/usr/bin/"+name, 0o755),
		// The same binary is a plugin of Docker's command line, by this name.
		{Type: files.TypeSymlink, Source: "/usr/bin/" + name, Destination: "/usr/libexec/docker/cli-plugins/docker-" + name},
	}
	share := filepath.Join(r.stage, "share")
	err := filepath.WalkDir(share, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		below, err := filepath.Rel(share, path)
		if err != nil {
			return err
		}
		contents = append(contents, r.file(path, filepath.Join("/usr", below), 0o644))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if other, ok := nfpmArch[arch]; ok {
		arch = other
	}
	return nfpm.WithDefaults(&nfpm.Info{
		Name: name, Arch: arch, Platform: "linux", Version: r.version, VersionSchema: "semver", Release: "1",
		Section: "admin", Priority: "optional", License: "Apache-2.0", Homepage: homepage,
		Maintainer:  "overlaydiff <overlaydiff@users.noreply.github.com>",
		Vendor:      name,
		Description: "Changes and sizes of containers and other overlays\nReports what the upper layer of an overlayfs mount changes: the list of\nchanges, their size, and the changes as an OCI image layer.",
		MTime:       r.time,
		Overridables: nfpm.Overridables{
			Contents: contents,
			RPM:      nfpm.RPM{BuildHost: name, Summary: "Changes and sizes of containers and other overlays"},
		},
	}), nil
}

func (r *release) file(source, destination string, mode fs.FileMode) *files.Content {
	return &files.Content{Source: source, Destination: destination, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: r.time}}
}
