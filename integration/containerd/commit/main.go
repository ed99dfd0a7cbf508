//go:build linux

// Commit makes an image of an image and a snapshot over it, through containerd's
// API and in the way of nerdctl commit: a layer from the diff service, and its
// DiffID from the label of the content. It prints the layer's digest and DiffID.
//
//	commit SOCKET IMAGE SNAPSHOT NEW-IMAGE
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/rootfs"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: commit SOCKET IMAGE SNAPSHOT NEW-IMAGE")
		os.Exit(2)
	}
	ctx := namespaces.WithNamespace(context.Background(), namespaces.Default)
	if err := commit(ctx, os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "commit:", err)
		os.Exit(1)
	}
}

func commit(ctx context.Context, socket, image, snapshot, name string) error {
	c, err := client.New(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, done, err := c.WithLease(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = done(ctx) }()
	from, err := c.GetImage(ctx, image)
	if err != nil {
		return err
	}
	manifest, err := images.Manifest(ctx, c.ContentStore(), from.Target(), from.Platform())
	if err != nil {
		return err
	}
	config, err := from.Spec(ctx)
	if err != nil {
		return err
	}
	layer, err := rootfs.CreateDiff(ctx, snapshot, c.SnapshotService(""), c.DiffService())
	if err != nil {
		return err
	}
	diffID, err := images.GetDiffID(ctx, c.ContentStore(), layer)
	if err != nil {
		return err
	}
	config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
	manifest.Layers = append(manifest.Layers, layer)
	manifest.MediaType = ocispec.MediaTypeImageManifest
	if manifest.Config, err = put(ctx, c, ocispec.MediaTypeImageConfig, config, nil); err != nil {
		return err
	}
	refs := map[string]string{"containerd.io/gc.ref.content.config": manifest.Config.Digest.String()}
	for i, l := range manifest.Layers {
		refs[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = l.Digest.String()
	}
	target, err := put(ctx, c, manifest.MediaType, manifest, refs)
	if err != nil {
		return err
	}
	if _, err := c.ImageService().Create(ctx, images.Image{Name: name, Target: target}); err != nil {
		return err
	}
	fmt.Println(layer.Digest, diffID)
	return nil
}

// put writes a JSON document to the content store.
func put(ctx context.Context, c *client.Client, mediaType string, document any, labels map[string]string) (ocispec.Descriptor, error) {
	b, err := json.Marshal(document)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	err = content.WriteBlob(ctx, c.ContentStore(), desc.Digest.String(), bytes.NewReader(b), desc, content.WithLabels(labels))
	if errdefs.IsAlreadyExists(err) {
		err = nil
	}
	return desc, err
}
