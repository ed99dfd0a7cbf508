// Chunked compresses the tar archive on its standard input so that it can be read in
// parts: as estargz or as zstd:chunked.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/containerd/stargz-snapshotter/estargz"
	"go.podman.io/storage/pkg/chunked/compressor"
)

func main() {
	if err := run(os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, "chunked:", err)
		os.Exit(1)
	}
}

func run(format string) error {
	switch format {
	case "estargz":
		z := estargz.NewWriter(os.Stdout)
		if err := z.AppendTar(os.Stdin); err != nil {
			return err
		}
		_, err := z.Close()
		return err
	case "zstd:chunked":
		w, err := compressor.ZstdCompressor(os.Stdout, map[string]string{}, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(w, os.Stdin); err != nil {
			return err
		}
		return w.Close()
	}
	return fmt.Errorf("unknown format %q: estargz or zstd:chunked", format)
}
