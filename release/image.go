package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// exported is what overlaydiff export --json prints.
type exported struct {
	Descriptor ocispec.Descriptor `json:"descriptor"`
	DiffID     digest.Digest      `json:"diff_id"`
}

// image writes the OCI layout (image-spec 1.1, image-layout.md) below image/ in the stage: a
// manifest for each architecture, and an index of them that has the name and the version as its reference.
func (r *release) image() error {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, arch := range r.architectures {
		manifest, err := r.manifest(arch)
		if err != nil {
			return err
		}
		index.Manifests = append(index.Manifests, manifest)
	}
	whole, err := r.blob(ocispec.MediaTypeImageIndex, index)
	if err != nil {
		return err
	}
	// A tag has no +. With the name before it, podman load and ctr images import use it as it is.
	whole.Annotations = map[string]string{ocispec.AnnotationRefName: name + ":" + strings.ReplaceAll(r.version, "+", "_")}
	top := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{whole}}
	if err := writeJSON(filepath.Join(r.stage, "image", ocispec.ImageIndexFile), top); err != nil {
		return err
	}
	return writeJSON(filepath.Join(r.stage, "image", ocispec.ImageLayoutFile), ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
}

// manifest writes the layer, the configuration and the manifest of an architecture.
func (r *release) manifest(arch string) (ocispec.Descriptor, error) {
	layer, err := r.layer(arch)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	platform := ocispec.Platform{OS: "linux", Architecture: arch}
	switch arch { // as containerd and moby name the variants that Go builds for
	case "arm":
		platform.Variant = "v7"
	case "arm64":
		platform.Variant = "v8"
	}
	labels := map[string]string{
		ocispec.AnnotationTitle: name, ocispec.AnnotationVersion: r.version, ocispec.AnnotationSource: homepage,
		ocispec.AnnotationLicenses: "Apache-2.0", ocispec.AnnotationDescription: "Changes and sizes of containers and other overlays",
	}
	config, err := r.blob(ocispec.MediaTypeImageConfig, ocispec.Image{
		Created: &r.time, Platform: platform,
		Config:  ocispec.ImageConfig{Entrypoint: []string{"/usr/bin/" + name}, Cmd: []string{"--help"}, Env: []string{"PATH=/usr/bin"}, Labels: labels},
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.DiffID}},
		History: []ocispec.History{{Created: &r.time, CreatedBy: "overlaydiff export"}},
	})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	manifest, err := r.blob(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{layer.Descriptor}, Annotations: labels,
	})
	manifest.Platform = &platform
	return manifest, err
}

// layer moves the staged layer of an architecture among the blobs, and returns what overlaydiff
// export printed of it.
func (r *release) layer(arch string) (layer exported, err error) {
	archive := filepath.Join(r.stage, "layer", arch+".tar.gz")
	text, err := os.ReadFile(filepath.Join(r.stage, "layer", arch+".json"))
	if err != nil {
		return layer, err
	}
	if err := json.Unmarshal(text, &layer); err != nil {
		return layer, fmt.Errorf("what overlaydiff export printed for %s: %w", arch, err)
	}
	if err := os.MkdirAll(r.blobs(), 0o755); err != nil {
		return layer, err
	}
	got, err := digestOf(archive)
	if err != nil {
		return layer, err
	}
	if got != layer.Descriptor.Digest.Encoded() {
		return layer, fmt.Errorf("%s is not the layer that overlaydiff export printed: its digest is %s, not %s", archive, got, layer.Descriptor.Digest)
	}
	return layer, os.Rename(archive, filepath.Join(r.blobs(), got))
}

func (r *release) blobs() string { return filepath.Join(r.stage, "image", "blobs", "sha256") }

// blob writes a value as a blob and returns its descriptor.
func (r *release) blob(mediaType string, v any) (ocispec.Descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	return d, os.WriteFile(filepath.Join(r.blobs(), d.Digest.Encoded()), text, 0o644)
}

func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
