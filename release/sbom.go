package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

// bill writes the software bill of materials of an architecture's command, from the build
// information in it: the modules that are linked, and the standard library.
func (r *release) bill(arch string) error {
	info, err := buildinfo.ReadFile(r.binary(arch))
	if err != nil {
		return err
	}
	digest, err := digestOf(r.binary(arch))
	if err != nil {
		return err
	}
	command := component(cyclonedx.ComponentTypeApplication, info.Main.Path, "v"+r.version)
	command.Name = name
	command.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: digest}}
	command.Properties = &[]cyclonedx.Property{{Name: "go:GOOS", Value: "linux"}, {Name: "go:GOARCH", Value: arch}, {Name: "go:package", Value: info.Path}}

	goVersion, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ") // experiments follow
	standard := component(cyclonedx.ComponentTypeLibrary, "std", goVersion)
	components := []cyclonedx.Component{standard}
	for _, m := range info.Deps {
		c, err := r.module(m)
		if err != nil {
			return err
		}
		components = append(components, c)
	}
	refs := make([]string, len(components))
	for i, c := range components {
		refs[i] = c.BOMRef
	}

	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Timestamp: r.time.Format("2006-01-02T15:04:05Z"), Component: &command}
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: command.BOMRef, Dependencies: &refs}}
	return r.create(fmt.Sprintf("%s-%s-linux-%s.cdx.json", name, r.version, arch), func(f *os.File) error {
		return cyclonedx.NewBOMEncoder(f, cyclonedx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
	})
}

// module describes a module that is linked. One of a workspace has no version but the release's.
func (r *release) module(m *debug.Module) (cyclonedx.Component, error) {
	if m.Replace != nil {
		m = m.Replace
	}
	version := m.Version
	if version == "(devel)" || version == "" {
		version = "v" + r.version
	}
	c := component(cyclonedx.ComponentTypeLibrary, m.Path, version)
	if m.Sum == "" {
		return c, nil
	}
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
	if err != nil {
		return c, fmt.Errorf("checksum %s of module %s: %w", m.Sum, m.Path, err)
	}
	c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}} // as go.sum defines it
	return c, nil
}

func component(kind cyclonedx.ComponentType, module, version string) cyclonedx.Component {
	url := "pkg:golang/" + module + "@" + version
	return cyclonedx.Component{BOMRef: url, Type: kind, Name: module, Version: version, PackageURL: url}
}

// digestOf returns the SHA-256 of a file in hexadecimal.
func digestOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
