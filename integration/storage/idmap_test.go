//go:build !cgo || exclude_graphdriver_btrfs

package storage

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/idtools"
	"go.podman.io/storage/types"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestStore_idMapped: a container of CRI-O with a user namespace (hostUsers: false), as CRI-O
// has containers/storage make it, of an image whose layers are everybody's. It is found in the
// store with its ids, whoever maps them.
func TestStore_idMapped(t *testing.T) {
	one, two := idtools.IDMap{ContainerID: 0, HostID: 100000, Size: 1000}, idtools.IDMap{ContainerID: 1000, HostID: 300000, Size: 1000}
	for _, c := range []struct {
		what, option string
		ids          []idtools.IDMap
		chown        []string // to 33:34 and 999:0
	}{
		{"the kernel, at mounting", "", []idtools.IDMap{one, two}, []string{"100033:100034", "300000:100000"}},
		{"fuse-overlayfs", "overlay.mount_program=/usr/bin/fuse-overlayfs", []idtools.IDMap{one}, []string{"100033:100034", "100999:100000"}},
		{"containers/storage, in a copy, since fuse-overlayfs can't", "overlay.mount_program=/usr/bin/fuse-overlayfs", []idtools.IDMap{one, two}, []string{"100033:100034", "300000:100000"}},
	} {
		t.Run(c.what, func(t *testing.T) { testIDMapped(t, c.option, c.ids, c.chown) })
	}
}

func testIDMapped(t *testing.T, option string, ids []idtools.IDMap, chown []string) {
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Ext4)
	engines := []overlaydiff.Choice{overlaydiff.Native, overlaydiff.Naive}
	options := storage.StoreOptions{GraphDriverName: "overlay", GraphRoot: filepath.Join(dir, "graph"), RunRoot: filepath.Join(dir, "run")}
	if option == "" {
		testenv.Tree(t, dir, "dir probe")
		testenv.IDMapped(t, testenv.Ext4, filepath.Join(dir, "probe"), "0:100000:1")
	} else {
		if _, err := exec.LookPath("fuse-overlayfs"); err != nil {
			if os.Getenv("OVERLAYDIFF_REQUIRE") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
		options.GraphDriverOptions, engines = []string{option}, engines[:1] // the naive engine mounts by the kernel
	}
	s, err := storage.GetStore(options)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Free()
	put(t, s, "image", "", writeTar(t, "etc/", "etc/a", "etc/b", "gone"))
	if _, err := s.CreateImage("image", []string{"localhost/app:1"}, "image", "", nil); err != nil {
		t.Fatal(err)
	}
	metadata := `{"pod-name":"pod-1","pod-id":"pod","image-name":"localhost/app:1","image-id":"image","name":"app","metadata-name":"app","uid":"u","namespace":"prod","created-at":1700000000}`
	c, err := s.CreateContainer("", []string{"k8s_app_pod-1_prod_u_0"}, "image", "", metadata,
		&storage.ContainerOptions{IDMappingOptions: types.IDMappingOptions{UIDMap: ids, GIDMap: ids}})
	if err != nil {
		t.Fatal(err)
	}
	merged, err := s.Mount(c.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	testenv.Do(t, merged, "open etc/b", "write etc/a more", "unlink gone", "create n 12", "chown n "+chown[0], "create m 1", "chown m "+chown[1])
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(merged, "etc/b"), &st); err != nil || st.Uid != 100000 || st.Gid != 100000 {
		t.Fatalf("the image's files are shown as %d:%d's, error %v", st.Uid, st.Gid, err)
	}
	if _, err := s.Unmount(c.ID, true); err != nil {
		t.Fatal(err)
	}
	all, err := stores.ContainersStorage(options.GraphRoot, "").Containers(t.Context())
	if err != nil || len(all) != 1 || all[0].Err != nil || all[0].Runtime != stores.RuntimeCRIO {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, engine := range engines {
		checkIDMapped(t, engine, all[0].Stack)
	}
	if _, err := s.Shutdown(true); err != nil {
		t.Error(err)
	}
	runtime.GC() // containers/storage leaves a pipe of an unpacking to it
}

func checkIDMapped(t *testing.T, engine overlaydiff.Choice, s diff.Stack) {
	d, err := overlaydiff.Open(t.Context(), s, overlaydiff.Options{Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var changes []string
	for c, err := range d.Changes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, fmt.Sprintf("%c %s", c.Kind.Letter(), c.Path))
	}
	if diff := cmp.Diff([]string{"C /etc/a", "D /gone", "A /m", "A /n"}, changes); diff != "" {
		t.Errorf("%s: changes (-want +got):\n%s", engine, diff)
	}
	var b bytes.Buffer
	if _, err := d.Export(t.Context(), &b, layer.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	last := map[bool]string{true: "1000:0", false: "999:0"}[len(s.Container.Users) > 1]
	want := map[string]string{"etc/": "0:0", "etc/a": "0:0", "n": "33:34", "m": last}
	if got := ownersOf(t, b.Bytes()); !maps.Equal(got, want) {
		t.Errorf("%s: owners %v, want %v", engine, got, want)
	}
}

// ownersOf returns the owners in a layer by name, whiteouts excepted.
func ownersOf(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	owners := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return owners
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(h.Name, ".wh.") {
			owners[h.Name] = fmt.Sprintf("%d:%d", h.Uid, h.Gid)
		}
	}
}
