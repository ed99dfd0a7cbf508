package peers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive"
	mobyarchive "github.com/moby/go-archive"
	umocilayer "github.com/opencontainers/umoci/oci/layer"
	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/oddtar"
)

// readers unpack an archive into an empty directory.
var readers = map[string]func(ctx context.Context, data []byte, dir string) error{
	"GNU tar": func(ctx context.Context, data []byte, dir string) error {
		cmd := exec.CommandContext(ctx, "tar", "-x", "-p", "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls",
			"--delay-directory-restore", "--warning=no-timestamp", "--warning=no-unknown-keyword", "-C", dir, "-f", "-")
		cmd.Stdin = bytes.NewReader(data)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	},
	"containerd": func(ctx context.Context, data []byte, dir string) error {
		_, err := archive.Apply(ctx, dir, bytes.NewReader(data))
		return err
	},
	"moby": func(_ context.Context, data []byte, dir string) error {
		_, err := mobyarchive.UnpackLayer(dir, bytes.NewReader(data), &mobyarchive.TarOptions{})
		return err
	},
	"umoci": func(_ context.Context, data []byte, dir string) error {
		return umocilayer.UnpackLayer(dir, bytes.NewReader(data), nil)
	},
}

// TestOdd applies archives that are odd and well-formed: what others make of them is
// what we make of them, or a rule says why not (docs/layers.md).
func TestOdd(t *testing.T) {
	testenv.RequireRoot(t)
	n, _ := strconv.Atoi(os.Getenv("OVERLAYDIFF_ODD"))
	if n == 0 {
		n = 400
	}
	first, err := strconv.ParseUint(os.Getenv("OVERLAYDIFF_SEED"), 10, 64)
	if err == nil && os.Getenv("OVERLAYDIFF_ODD") == "" {
		n = 1
	}
	used, wrong := map[string]int{}, map[string]int{}
	top := testenv.Scratch(t, testenv.Ext4)
	for seed := first; seed < first+uint64(n); seed++ {
		a := oddtar.Random(seed)
		ours, ourErr := unpack(t, top, func(dir string) error {
			_, err := layer.Apply(t.Context(), bytes.NewReader(a.Data), dir, layer.ApplyOptions{})
			return err
		})
		if ourErr != nil && len(ours) > 0 {
			t.Errorf("seed %d: half a tree after %v", seed, ourErr)
		}
		for _, name := range slices.Sorted(maps.Keys(readers)) {
			theirs, err := unpack(t, top, func(dir string) error { return readers[name](t.Context(), a.Data, dir) })
			for _, d := range compareTrees(ours, theirs, ourErr, err) {
				rule := d.rule(name, a)
				if rule != nil {
					used[name+": "+rule.why]++
					continue
				}
				if wrong[name]++; wrong[name] < 30 {
					t.Errorf("seed %d: %s: %s %s: ours %s, theirs %s; tags %v, of all %v", seed, name, d.path, d.what, d.ours, d.theirs, a.Tags[d.path], a.Tags[""])
				}
			}
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(used)) {
		t.Logf("%5d %s", used[rule], rule)
	}
	if len(wrong) > 0 {
		t.Errorf("%d archives; differences without a rule: %v", n, wrong)
	}
}

// unpack returns the tree that unpacking makes, nil after an error.
func unpack(t *testing.T, top string, into func(dir string) error) (map[string]map[string]string, error) {
	t.Helper()
	dir := filepath.Join(top, "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}()
	outside := entries(t, top)
	err := into(dir)
	if now := entries(t, top); !slices.Equal(outside, now) {
		t.Errorf("outside of the tree: %q, now %q", outside, now)
	}
	tree, terr := readTree(dir)
	if terr != nil {
		t.Fatal(terr)
	}
	return tree, err
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// readTree returns what there is to say of each path of a tree.
func readTree(root string) (map[string]map[string]string, error) {
	tree, first := map[string]map[string]string{}, map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name := path[len(root)+1:]
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		is := map[string]string{
			"type": d.Type().String(), "mode": fmt.Sprintf("%o", st.Mode&0o7777), "owner": fmt.Sprintf("%d:%d", st.Uid, st.Gid),
			"mtime": fmt.Sprintf("%d.%09d", st.Mtim.Sec, st.Mtim.Nsec), "device": fmt.Sprint(st.Rdev),
		}
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			is["content"] = fmt.Sprintf("%d bytes, %x", len(b), sha256.Sum256(b))
		}
		if d.Type()&fs.ModeSymlink != 0 {
			if is["target"], err = os.Readlink(path); err != nil {
				return err
			}
		}
		if !d.IsDir() {
			if _, seen := first[st.Ino]; !seen {
				first[st.Ino] = name
			}
			is["links"] = first[st.Ino]
		}
		list, err := xattr.LList(path)
		if err != nil {
			return err
		}
		slices.Sort(list)
		for _, attr := range list {
			value, err := xattr.LGet(path, attr)
			if err != nil {
				return err
			}
			is["xattrs"] += fmt.Sprintf("%s=%q ", attr, value)
		}
		tree[name] = is
		return nil
	})
	return tree, err
}

// difference is something that two trees differ in.
type difference struct{ path, kind, what, ours, theirs string }

func compareTrees(ours, theirs map[string]map[string]string, ourErr, theirErr error) (list []difference) {
	if ourErr != nil || theirErr != nil {
		if ourErr != nil && theirErr != nil {
			return nil
		}
		return []difference{{"", "", "error", fmt.Sprint(ourErr), fmt.Sprint(theirErr)}}
	}
	for path := range merged(ours, theirs) {
		a, b := ours[path], theirs[path]
		if a == nil || b == nil {
			list = append(list, difference{path, "", "presence", fmt.Sprint(a), fmt.Sprint(b)})
			continue
		}
		for what := range merged(a, b) {
			if a[what] != b[what] {
				list = append(list, difference{path, a["type"], what, a[what], b[what]})
			}
		}
	}
	return list
}

func merged[V any](a, b map[string]V) map[string]struct{} {
	all := map[string]struct{}{}
	for _, m := range []map[string]V{a, b} {
		for k := range m {
			all[k] = struct{}{}
		}
	}
	return all
}

// rule says why somebody else makes something else of an archive.
type rule struct {
	who  string // "": anybody but GNU tar
	tag  string // of the path or, behind "archive:", of the archive
	what string // differs; "": anything
	says string // is in the error, or in what theirs is
	why  string
}

func (d *difference) rule(who string, a oddtar.Archive) *rule {
	for i := range rules {
		r := &rules[i]
		tag, whole := strings.CutPrefix(r.tag, "archive:")
		tags := a.Tags[d.path]
		if whole {
			tags = a.Tags[""]
		}
		if d.path == "" && !whole {
			tags = slices.Concat(slices.Collect(maps.Values(a.Tags))...)
		}
		if (r.who == who || r.who == "" && who != "GNU tar" || r.who == "all") && (tag == "" || slices.Contains(tags, tag)) &&
			(r.what == "" || slices.Contains(strings.Fields(r.what), d.what)) && strings.Contains(d.path+"\n"+d.kind+"\n"+d.ours+"\n"+d.theirs, r.says) {
			return r
		}
	}
	return nil
}

// rules are the differences that are known (docs/layers.md, "Beside other programs").
var rules = []rule{
	{"all", "archive:no end", "error", "no end mark", "an archive without its end may be one that was cut off"},
	{"all", "no parent", "mtime mode owner", "", "a directory that no entry describes: made now, as who makes it makes directories"},

	{"GNU tar", "apple", "error", "com.apple", "it makes the tree, and says that it failed"},
	{"GNU tar", "archive:link that leads out", "mtime type content target mode owner xattrs links device", "", "it makes links that lead out last: after the times of their directories, and also where another entry took the place meanwhile and, by chance, the inode"},
	{"GNU tar", "archive:global", "owner mtime", "", "it forgets a global header at the next one, POSIX keeps what that does not say"},

	{"", "contiguous", "error", "", "type 7 is a regular file to GNU tar alone (POSIX, pax, typeflag)"},
	{"", "old sparse", "error", "", "type S is GNU's"},
	{"", "archive:label", "error", "", "type V is GNU's"},
	{"", "dump directory", "error", "", "type D is GNU's"},
	{"umoci", "archive:global", "error", "", "it takes a global header for an entry"},
	{"", "", "presence", "PaxHeaders", "it makes the directory that the global header is said to be in"},
	{"", "archive:global owner", "owner", "", "global headers hold for nothing there"},
	{"", "archive:global times", "mtime", "", "global headers hold for nothing there"},
	{"", "archive:link says else", "owner mode mtime xattrs", "", "it gives the inode what the header of a link says"},
	{"", "archive:text acl", "mode xattrs", "", "lists in text form are left out"},
	{"", "archive:large numbers", "mtime", "", "times before 1901 or after 2262 become another"},
	{"", "archive:capability", "xattrs", "security.capability", "it changes the owner of what it links, which takes capabilities away"},
	{"moby", "xattr", "error", "lsetxattr", "it sets attributes of what a symbolic link leads to"},
	{"moby", "capability", "error", "lsetxattr", "it sets attributes of what a symbolic link leads to"},
	{"moby", "apple", "error", "com.apple", "attributes that Linux has not are an error"},
	{"umoci", "", "mtime", "d---------", "it leaves directories with the time at which something was made in them"},
	{"containerd", "", "xattrs", "trusted.k", "it sets no trusted.*"},
}
