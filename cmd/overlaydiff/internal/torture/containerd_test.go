package torture_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// addContainerd adds a container of containerd, of one layer, to a node.
func addContainerd(t *testing.T, node string) {
	t.Helper()
	const layer = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	root := filepath.Join(node, "var/lib/containerd")
	snapshots := filepath.Join(root, "io.containerd.snapshotter.v1.overlayfs")
	putBolt(t, filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db"), map[string][]byte{
		"v1/k8s.io/snapshots/overlayfs/" + layer + "/name":  []byte("k8s.io/1"),
		"v1/k8s.io/snapshots/overlayfs/app/name":            []byte("k8s.io/2"),
		"v1/k8s.io/snapshots/overlayfs/app/parent":          []byte(layer),
		"v1/k8s.io/containers/app/image":                    []byte("web:1"),
		"v1/k8s.io/containers/app/snapshotter":              []byte("overlayfs"),
		"v1/k8s.io/containers/app/snapshotKey":              []byte("app"),
		"v1/k8s.io/containers/app/labels/nerdctl|namespace": []byte("k8s.io"),
	})
	putBolt(t, filepath.Join(snapshots, "metadata.db"), map[string][]byte{
		"v1/snapshots/k8s.io|1/kind": {3},
		"v1/snapshots/k8s.io|1/id":   binary.AppendUvarint(nil, 1),
		"v1/snapshots/k8s.io|1/size": binary.AppendVarint(nil, 5000),
		"v1/snapshots/k8s.io|2/kind": {2},
		"v1/snapshots/k8s.io|2/id":   binary.AppendUvarint(nil, 2),
	})
	testenv.Tree(t, filepath.Join(snapshots, "snapshots"), "file 1/fs/bin/sh size=5000", "file 2/fs/etc/f size=70", "dir 2/work")
}

// putBolt makes a database of values by their paths of buckets; a | in a name stands
// for a slash.
func putBolt(t *testing.T, path string, values map[string][]byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for path, value := range values {
			words := strings.Split(path, "/")
			for i := range words {
				words[i] = strings.ReplaceAll(words[i], "|", "/")
			}
			last := len(words) - 1
			b, err := tx.CreateBucketIfNotExists([]byte(words[0]))
			for _, name := range words[1:last] {
				if err == nil {
					b, err = b.CreateBucketIfNotExists([]byte(name))
				}
			}
			if err == nil {
				err = b.Put([]byte(words[last]), value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}
