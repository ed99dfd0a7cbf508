package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// staged returns a release of two architectures whose command is this test's program.
func staged(t *testing.T) *release {
	t.Helper()
	r := &release{stage: t.TempDir(), out: t.TempDir(), version: "1.2.3-rc.1", time: time.Unix(1e9, 0).UTC(), architectures: []string{"amd64", "arm"}}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) {
		t.Helper()
		path := filepath.Join(r.stage, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("share/share/man/man1/overlaydiff.1.gz", []byte("page"))
	for _, arch := range r.architectures {
		layer := []byte("layer of " + arch)
		text, err := json.Marshal(exported{ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromBytes(layer), Size: int64(len(layer))}, digest.FromString(arch)})
		if err != nil {
			t.Fatal(err)
		}
		write("bin/"+arch+"/overlaydiff", program)
		write("layer/"+arch+".tar.gz", layer)
		write("layer/"+arch+".json", text)
	}
	return r
}

// files returns the contents of all files below the directories of a release.
func (r *release) files(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, dir := range []string{r.out, filepath.Join(r.stage, "image")} {
		names, err := filepath.Glob(dir + "/*")
		if err != nil {
			t.Fatal(err)
		}
		blobs, err := filepath.Glob(dir + "/blobs/sha256/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range append(names, blobs...) {
			if content, err := os.ReadFile(name); err == nil {
				files[strings.TrimPrefix(name, dir+"/")] = content
			}
		}
	}
	return files
}

func TestMake_Reproducible(t *testing.T) {
	first, second := staged(t), staged(t)
	for _, r := range []*release{first, second} {
		if err := r.make(); err != nil {
			t.Fatal(err)
		}
	}
	want, got := first.files(t), second.files(t)
	for _, name := range []string{
		"overlaydiff_1.2.3~rc.1-1_amd64.deb", "overlaydiff_1.2.3~rc.1-1_armhf.deb",
		"overlaydiff-1.2.3~rc.1-1.x86_64.rpm", "overlaydiff-1.2.3~rc.1-1.armv7hl.rpm",
		"overlaydiff-1.2.3-rc.1-linux-arm.cdx.json", "index.json", "oci-layout",
	} {
		if len(want[name]) == 0 {
			t.Errorf("no file %s", name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, then %d", len(want), len(got))
	}
	for name, content := range want {
		if !bytes.Equal(content, got[name]) {
			t.Errorf("%s differs when it is made again", name)
		}
	}
}

// Every blob has the digest that is its name, and every descriptor the size of a blob.
func TestImage(t *testing.T) {
	r := staged(t)
	if err := r.make(); err != nil {
		t.Fatal(err)
	}
	files := r.files(t)
	blob := func(d ocispec.Descriptor, v any) {
		t.Helper()
		content := files["blobs/sha256/"+d.Digest.Encoded()]
		if digest.FromBytes(content) != d.Digest || int64(len(content)) != d.Size {
			t.Fatalf("the blob of %+v has %d bytes and digest %s", d, len(content), digest.FromBytes(content))
		}
		if v == nil {
			return
		}
		if err := json.Unmarshal(content, v); err != nil {
			t.Fatal(err)
		}
	}
	var top, index ocispec.Index
	if err := json.Unmarshal(files["index.json"], &top); err != nil {
		t.Fatal(err)
	}
	blob(top.Manifests[0], &index)
	var platforms []string
	for _, d := range index.Manifests {
		platforms = append(platforms, d.Platform.Architecture+d.Platform.Variant)
		var m ocispec.Manifest
		var config ocispec.Image
		blob(d, &m)
		blob(m.Config, &config)
		blob(m.Layers[0], nil)
		if want := []digest.Digest{digest.FromString(d.Platform.Architecture)}; !slices.Equal(config.RootFS.DiffIDs, want) || config.Architecture != d.Platform.Architecture {
			t.Errorf("config of %s: %+v", d.Platform.Architecture, config)
		}
	}
	if want := []string{"amd64", "armv7"}; !slices.Equal(platforms, want) {
		t.Errorf("platforms %q, want %q", platforms, want)
	}
}

// A layer that is not the one that export printed is an error.
func TestImage_OtherLayer(t *testing.T) {
	r := staged(t)
	if err := os.WriteFile(filepath.Join(r.stage, "layer/amd64.tar.gz"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.image(); err == nil || !strings.Contains(err.Error(), "amd64.tar.gz is not the layer") {
		t.Errorf("got %v", err)
	}
}

// This test's program links nfpm, at the version in go.mod.
func TestBill(t *testing.T) {
	r := staged(t)
	if err := r.bill("arm"); err != nil {
		t.Fatal(err)
	}
	var bom cyclonedx.BOM
	f, err := os.Open(filepath.Join(r.out, "overlaydiff-1.2.3-rc.1-linux-arm.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := cyclonedx.NewBOMDecoder(f, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range *bom.Components {
		names = append(names, c.Name)
		if c.Name == "github.com/goreleaser/nfpm/v2" && (!strings.HasPrefix(c.PackageURL, "pkg:golang/github.com/goreleaser/nfpm/v2@v2.") || len((*c.Hashes)[0].Value) != 64) {
			t.Errorf("component %+v", c)
		}
	}
	if !slices.Contains(names, "std") || !slices.Contains(names, "github.com/goreleaser/nfpm/v2") {
		t.Errorf("components %q", names)
	}
}
