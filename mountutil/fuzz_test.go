//go:build linux

package mountutil

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mangle escapes a field as the kernel does (seq_escape), by its octal number.
func mangle(field, special string) string {
	var b strings.Builder
	for i := range len(field) {
		if c := field[i]; strings.IndexByte(special, c) >= 0 {
			fmt.Fprintf(&b, `\%03o`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// FuzzReadTable reads a mount table whose middle line has these names: exactly they
// come out, and no line is taken for another.
func FuzzReadTable(f *testing.F) {
	for _, s := range nasty {
		f.Add("/"+s, s, s)
	}
	f.Add("/a - overlay b", "c - d e", "/l - overlay o rw")
	f.Fuzz(func(t *testing.T, point, source, layer string) {
		const special = " \t\n\\#"
		if point == "" || strings.Contains(point+source+layer, "\x00") {
			return
		}
		options := "rw,lowerdir=" + mangle(escaper.Replace(layer), " \t\n\\,=#")
		lines := []string{
			"21 1 0:20 / /before rw - tmpfs none rw",
			fmt.Sprintf("22 21 0:33 / %s rw,relatime shared:1 master:2 - overlay %s %s", mangle(point, special), mangle(source, special), options),
			"23 21 0:34 / /after rw - proc proc rw",
		}
		table := filepath.Join(t.TempDir(), "mountinfo")
		if err := os.WriteFile(table, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		infos, err := readTable(table, func([]byte) bool { return true })
		if err != nil {
			t.Fatalf("%q: %v", lines[1], err)
		}
		if len(infos) != 3 || infos[0].Mountpoint != "/before" || infos[2].Mountpoint != "/after" {
			t.Fatalf("%q: %d mounts", lines[1], len(infos))
		}
		m := infos[1]
		if m.Mountpoint != point || m.FSType != "overlay" || m.Minor != 33 || m.VFSOptions != options {
			t.Errorf("%q is read as %+v", lines[1], m)
		}
		o, err := ParseMountinfo(m.VFSOptions)
		if layer == "" {
			return
		}
		if err != nil || len(o.Lower) != 1 || o.Lower[0] != layer {
			t.Errorf("%q: layers %q, %v; want %q", m.VFSOptions, o.Lower, err, layer)
		}
	})
}
