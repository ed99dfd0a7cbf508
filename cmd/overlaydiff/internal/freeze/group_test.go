//go:build linux

package freeze

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The group of a container is the one with its id in the name, whatever groups a process has
// below it; the root group and those without a path here are nobody's.
func TestChoose(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct {
		why, id, table string
		want           []string
	}{
		{"version 2", "", "0::/user.slice/a\n", []string{"sys/fs/cgroup/user.slice/a", "sys/fs/cgroup/unified/user.slice/a"}},
		{"version 2, systemd in the container", id, "0::/system.slice/docker-" + id + ".scope/init.scope\n",
			[]string{"sys/fs/cgroup/system.slice/docker-" + id + ".scope", "sys/fs/cgroup/unified/system.slice/docker-" + id + ".scope"}},
		{"a pod", id, "0::/kubepods/pod1/" + id + "\n", []string{"sys/fs/cgroup/kubepods/pod1/" + id, "sys/fs/cgroup/unified/kubepods/pod1/" + id}},
		{"version 1 and 2", "", "0::/a\n7:freezer:/b\n1:name=systemd:/c\n", []string{"sys/fs/cgroup/freezer/b", "sys/fs/cgroup/a", "sys/fs/cgroup/unified/a"}},
		{"the id is in one of them", id, "7:freezer:/\n0::/x/" + id + "/y\n", []string{"sys/fs/cgroup/x/" + id, "sys/fs/cgroup/unified/x/" + id}},
		{"two controllers in a hierarchy", "", "7:cpu,freezer:/b\n", []string{"sys/fs/cgroup/cpu,freezer/b"}},
		{"a short id is a whole name", "web", "7:freezer:/webserver/web/x\n", []string{"sys/fs/cgroup/freezer/webserver/web"}},
		{"root", "", "0::/\n7:freezer:/\n", nil},
		{"outside of the namespace", "", "0::/../a\n7:freezer:/a/../b\n", nil},
		{"no table", id, "x\n0:/\n::\n0::a\n", nil},
	} {
		var got []string
		for _, g := range choose(Groups(c.table), c.id) {
			got = append(got, g.Dir)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.why, d)
		}
	}
}
