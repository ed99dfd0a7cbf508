package whiteout

import (
	"testing"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

func TestFuseName(t *testing.T) {
	for entry, want := range map[string]string{
		"f": "f", ".wh.f": "f", ".wh..wh..opq": "", ".wh.": "", ".wh..wh.x": "", "x.wh.f": "x.wh.f", ".wh..f": ".f",
	} {
		if got := FuseName(entry); got != want {
			t.Errorf("%q is %q, want %q", entry, got, want)
		}
	}
}

func TestOverride_Visible(t *testing.T) {
	any, containers := Override{overrides}, Override{[]string{containersOverride}}
	for _, c := range []struct {
		name, any, containers string // "": hidden
	}{
		{"user.a", "user.a", "user.a"},
		{"user.fuseoverlayfs.origin", "", ""},
		{"user.fuseoverlayfs.override_stat", "", ""},
		{"security.fuseoverlayfs.override_stat", "", ""},
		{"user.containers.override_stat", "", ""},
		{"user.containers.other", "user.containers.other", "user.containers.other"},
		{"trusted.overlay.opaque", "", ""},
		{"user.overlay.opaque", "", ""},
		{"trusted.a", "trusted.a", "trusted.a"},
		{"security.capability", "security.capability", ""},
		{"user.containers.override_security.capability", "user.containers.override_security.capability", "security.capability"},
		{"user.containers.override_trusted.overlay.opaque", "", ""},
	} {
		for _, one := range []struct {
			o    Override
			want string
		}{{any, c.any}, {containers, c.containers}} {
			if got, ok := one.o.Visible(c.name); got != one.want || ok != (one.want != "") {
				t.Errorf("%s, of %q: %q, %t; want %q", c.name, one.o.attrs, got, ok, one.want)
			}
		}
	}
}

func TestApplyOverride(t *testing.T) {
	for _, c := range []struct {
		value         string
		stored, shown uint32 // modes; shown 0: an error
		rdev          uint64
	}{
		{"0:42:100640", sys.Regular | 0o755, sys.Regular | 0o640, 0},
		{"0:42:4755", sys.Regular | 0o755, sys.Regular | 0o4755, 0},
		{"0:42:040700", sys.Directory | 0o755, sys.Directory | 0o700, 0},
		{"0:42:0755:file", sys.Regular | 0o600, sys.Regular | 0o755, 0},
		{"0:42:0755:dir", sys.Directory | 0o600, sys.Directory | 0o755, 0},
		{"0:42:0666:char-1-3", sys.Regular | 0o755, sys.Char | 0o666, 0x103},
		{"0:42:0666:block-7-0-x", sys.Regular | 0o755, sys.Block | 0o666, 0x700},
		{"0:42:0666:pipe", sys.Regular | 0o755, sys.Fifo | 0o666, 0},
		{"0:42:0666:socket", sys.Regular | 0o755, sys.Sock | 0o666, 0},
		{"0:42:0666:char-0-0", sys.Regular | 0o755, 0, 0},
		{"0:42:0666:char", sys.Regular | 0o755, 0, 0},
		{"0:42:0666:char-1-99999999", sys.Regular | 0o755, 0, 0},
		{"0:42:0777:symlink", sys.Regular | 0o755, 0, 0},
		{"0:42:0777:dir", sys.Regular | 0o755, 0, 0},
		{"0:42:0777:char-1-3", sys.Directory | 0o755, 0, 0},
		{"0:42:0777:what", sys.Regular | 0o755, 0, 0},
		{"0:42", sys.Regular | 0o755, 0, 0},
		{"0:42:9", sys.Regular | 0o755, 0, 0},
		{"-1:42:755", sys.Regular | 0o755, 0, 0},
		{"0:42:755:file:more", sys.Regular | 0o755, 0, 0},
		{"", sys.Regular | 0o755, 0, 0},
	} {
		st := sys.Stat{Mode: c.stored, Size: 9, UID: 7, GID: 7}
		err := applyOverride(c.value, &st)
		if (err == nil) != (c.shown != 0) {
			t.Errorf("%q: %v", c.value, err)
			continue
		}
		if err != nil {
			continue
		}
		if st.Mode != c.shown || st.Rdev != c.rdev || st.UID != 0 || st.GID != 42 || (st.Size == 9) != (c.stored&0o170000 == c.shown&0o170000) {
			t.Errorf("%q: %+v", c.value, st)
		}
	}
}
