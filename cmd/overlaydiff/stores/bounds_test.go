//go:build linux

package stores

import (
	"fmt"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// What a user's store can make root keep in memory has bounds; what root's has is what
// runtimes may write.
func TestUsersBounds(t *testing.T) {
	testenv.RequireRoot(t)
	for _, c := range []struct {
		why    string
		change func(t *testing.T, root string)
		words  string // of the error, of the list or of a container
	}{
		{"many containers", func(t *testing.T, root string) {
			var all []string
			for i := range maxUsersEntries + 1 {
				all = append(all, fmt.Sprintf(`{"id":"c%d","layer":%q}`, i, id("7")))
			}
			write(t, "["+strings.Join(all, ",")+"]", root, "overlay-containers/containers.json")
		}, "more than 4096 containers"},
		{"a large list", func(t *testing.T, root string) {
			write(t, "["+storageContainer("a", strings.Repeat("x", maxUsersFile), id("7"), "")+"]", root, "overlay-containers/containers.json")
		}, "larger than"},
		{"many layers", func(t *testing.T, root string) {
			layers := []string{storageLayer("6", "", "")}
			var tree []string
			for i := range maxDepth {
				parent := fmt.Sprintf("p%d", i+1)
				if i == maxDepth-1 {
					parent = ""
				}
				layers = append(layers, fmt.Sprintf(`{"id":"p%d","parent":%q}`, i, parent))
				tree = append(tree, dir(fmt.Sprintf("overlay/p%d/diff", i)))
			}
			var all []string
			for i := range maxUsersLayers/maxDepth + 2 {
				layers = append(layers, fmt.Sprintf(`{"id":"t%d","parent":"p0"}`, i))
				tree = append(tree, dir(fmt.Sprintf("overlay/t%d/diff", i)))
				all = append(all, fmt.Sprintf(`{"id":"c%d","layer":"t%d"}`, i, i))
			}
			testenv.Tree(t, root, tree...)
			write(t, "["+strings.Join(layers, ",")+"]", root, "overlay-layers/layers.json")
			write(t, "["+strings.Join(all, ",")+"]", root, "overlay-containers/containers.json")
		}, "more than 65536 together"},
	} {
		t.Run(c.why, func(t *testing.T) {
			root := storageTree(t)
			c.change(t, root)
			for _, owner := range []int{1000, 0} {
				chown(t, root, owner)
				all, err := podman(root).Containers(t.Context())
				for _, one := range all {
					if err == nil {
						err = one.Err
					}
				}
				if refused := err != nil && strings.Contains(err.Error(), c.words); refused != (owner != 0) || err != nil && !refused {
					t.Errorf("the store is user %d's: %v", owner, err)
				}
			}
		})
	}
}

// Names that no runtime makes are none.
func TestLongNames(t *testing.T) {
	root := storageTree(t)
	long := strings.Repeat("x", maxName+1)
	write(t, "["+storageContainer("a", long, id("7"), fmt.Sprintf(`{"image-name":%q}`, long))+"]", root, "overlay-containers/containers.json")
	if c := list(t, podman(root))[id("a")]; c.Name != id("a") || len(c.Image) > maxName+len("…") {
		t.Errorf("the name has %d bytes, the image's %d", len(c.Name), len(c.Image))
	}
}
