package torture_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// scene is what commands are tried on: small, and with one of each.
type scene struct {
	*room
	command string
	live    string   // where an overlay is mounted: redirects, metacopy, index
	flags   []string // name another one like it that is not mounted
	lowers  []string // of both
	layer   string   // a layer of it, and the same compressed
	gzip    string
	lower   string // a tree for the demo
	node    string // a root with containers of Docker, containerd and iSulad
}

// newScene builds one on tmpfs.
func newScene(t *testing.T) *scene {
	t.Helper()
	dir := testenv.Scratch(t, testenv.Tmpfs)
	at := func(name string) string { return filepath.Join(dir, name) }
	s := &scene{command: installCommand(t, dir), layer: at("layer.tar"), gzip: at("layer.tar.gz"), lower: at("lower"), node: at("node")}
	testenv.Tree(t, at("l2"), sceneBottom)
	testenv.Tree(t, at("l1"), sceneTop)
	lower := []string{at("l1"), at("l2")}
	s.lowers = lower
	// One that is not mounted any more, to be named by its directories.
	first := testenv.Mount(t, testenv.Overlay{Lower: lower, Upper: at("u"), Options: "redirect_dir=on,metacopy=on,index=off"})
	testenv.Do(t, first, sceneChanges)
	testenv.Unmount(t, first)
	s.flags = []string{"--lower", strings.Join(lower, ":"), "--upper", at("u")}
	s.live = testenv.Mount(t, testenv.Overlay{Lower: lower, Upper: at("live"), Options: "redirect_dir=on,metacopy=on,index=on"})
	testenv.Do(t, s.live, sceneChanges)
	testenv.Tree(t, s.lower, sceneDemo)
	testenv.Tree(t, s.node, sceneContainers()...)
	addContainerd(t, s.node)

	s.room = newRoom(t, dir)
	for file, args := range map[string][]string{s.layer: nil, s.gzip: {"--compression", "gzip"}} {
		r := s.run(t, nil, append(append([]string{s.command, "export", "-o", file}, args...), s.flags...)...)
		if r.status != 0 {
			t.Fatalf("export: %s", r.stderr)
		}
	}
	s.layers = []string{at("l1"), at("l2"), at("u"), at("live"), s.lower, s.node, s.layer, s.gzip}
	s.before = s.surroundings()
	return s
}

// sceneBottom is the bottom layer.
const sceneBottom = `
file d/one content=one xattr.trusted.k=v
file d/two content=two
file d/sub/three content=three
file d/sub/four content=four
link d/five d/one
file gone/x content=x
file gone/y content=y
file again/a content=a
file again/b content=b
file big size=300000 content=big
file meta content=metadata mode=0640
file name content=name uid=1 gid=2
symlink s -> d/one
fifo pipe
char null 1:3
dir deep/1/2/3/4/5/6/7/8 mode=0700
file deep/1/2/3/4/5/6/7/8/end content=end
file same content=same`

// sceneTop is the layer above it.
var sceneTop = `
file d/two content=2 mtime=1100000000
whiteout d/sub/four
dir again xattr.trusted.overlay.opaque=y
file again/c content=c
file new/f content=f xattr.trusted.long=` + sceneValue + `
dir new/e`

// sceneValue is longer than what is offered first when attributes are read.
var sceneValue = strings.Repeat("v", 300)

// sceneChanges are made through the mount.
const sceneChanges = `
chmod meta 600
chown d/one 5:6
rename new renamed
mkdir fresh
rename d/sub fresh/sub
write fresh/sub/three more
rmtree gone
unlink again/c
mkdir gone
create gone/z z
create sparse x
truncate sparse 3000000
link same other
utimes same 1200000000.5
create one-link "hard"
link one-link fresh/two-links
setxattr name trusted.t=1
setxattr d trusted.u=2
acl big 1000:4
unlink s
symlink s elsewhere
mknod socket socket
mknod door fifo
mkdir a
mkdir a/b
mkdir a/b/c
create a/b/c/f "deep"
create "a/b/c/odd\nname" odd
rewrite d/two
write deep/1/2/3/4/5/6/7/8/end more
unlink null
truncate big 200000`

// sceneDemo is what the demo changes.
const sceneDemo = `
file f1 content=1
file f2 content=2
file f3 content=3
file f4 content=4
file f5 content=5
file f6 content=6
file f7 content=7
file f8 content=8
file d1/f content=1
file d2/f content=2
file d3/f content=3
symlink l -> f1`

// sceneContainers is a node with a container of iSulad, which keeps its layers as
// Podman does, and one of Docker, each of one layer, with something changed.
func sceneContainers() []string {
	id := func(digit string) string { return strings.Repeat(digit, 64) }
	digest := func(digit string) string { return "sha256:" + id(digit) }
	file := func(path, format string, args ...any) string {
		return fmt.Sprintf("file %s content=%q", path, fmt.Sprintf(format, args...))
	}
	const storage, docker = "var/lib/isulad/storage/", "var/lib/docker/"
	const db = docker + "image/overlay2/layerdb/"
	return []string{
		file(storage+"overlay-containers/"+id("a")+"/container.json", `{"id":"%s","names":["web"],"image":"busybox:latest"}`, id("a")),
		file(storage+"overlay-layers/"+id("a")+"/layer.json", `{"id":"%s","parent":"%s"}`, id("a"), id("c")),
		file(storage+"overlay-layers/"+id("c")+"/layer.json", `{"id":"%s","diff-digest":"%s"}`, id("c"), digest("1")),
		"dir " + storage + "overlay/" + id("a") + "/work",
		"file " + storage + "overlay/" + id("c") + "/diff/etc/conf size=100 mtime=5",
		"file " + storage + "overlay/" + id("c") + "/diff/gone",
		"file " + storage + "overlay/" + id("a") + "/diff/etc/conf size=100 mode=0600 mtime=5",
		"file " + storage + "overlay/" + id("a") + "/diff/var/log size=3000",
		"whiteout " + storage + "overlay/" + id("a") + "/diff/gone",

		file(docker+"containers/"+id("b")+"/config.v2.json", `{"State":{"Running":false,"Pid":0,"StartedAt":"2026-01-02T03:04:06Z","FinishedAt":"2026-01-02T03:05:06Z"},`+
			`"ID":"%s","Config":{"Image":"busybox:latest"},"Image":"%s","Name":"/db","Driver":"overlay2"}`, id("b"), digest("9")),
		file(db+"sha256/"+id("1")+"/size", "1000"),
		file(db+"sha256/"+id("1")+"/diff", "%s", digest("5")),
		file(db+"sha256/"+id("1")+"/cache-id", "%s", id("3")),
		file(db+"mounts/"+id("b")+"/mount-id", "%s", id("7")),
		file(db+"mounts/"+id("b")+"/init-id", "%s-init", id("7")),
		file(db+"mounts/"+id("b")+"/parent", "%s", digest("1")),
		"file " + docker + "overlay2/" + id("3") + "/diff/bin/sh size=1000",
		"file " + docker + "overlay2/" + id("7") + "/diff/root/f size=50",
		"dir " + docker + "overlay2/" + id("7") + "/work",
		"dir " + docker + "overlay2/" + id("7") + "-init/diff",
	}
}

// remove takes a result away before the next run, or all that is in it.
func (s *scene) remove(t *testing.T, name string, empty bool) {
	t.Helper()
	path := filepath.Join(s.work, name)
	err := os.RemoveAll(path)
	if err == nil && empty {
		err = os.Mkdir(path, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
