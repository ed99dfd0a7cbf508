package layer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// changes is a layer with everything that a layer can say about a lower tree.
func changes(t *testing.T) []byte {
	t.Helper()
	return archive(t,
		dirEntry("./"),
		dirEntry("d"), reg("d/new", "n"), reg("d/.wh.old", ""), reg("d/.wh.olddir", ""),
		dirEntry("hidden"), reg("hidden/mine", "m"), reg("hidden/.wh..wh..opq", ""),
		reg(".wh.was", ""), dirEntry("was"), reg("was/now", "w"),
		dirEntry("then"), reg("then/now", "w"), reg(".wh.then", ""),
		reg(".wh.file", ""), reg("file", "new"),
		reg("other", "new"), reg(".wh.other", ""),
		reg(".wh.gone", ""), reg(".wh.never", ""),
		reg("dirtofile", "f"), dirEntry("filetodir"), reg("filetodir/f", "x"),
		dirEntry("inopaque"), reg("inopaque/.wh.x", ""), reg("inopaque/.wh..wh..opq", ""), reg("inopaque/.wh.y", ""), reg("inopaque/z", "z"),
	)
}

var lowerTree = []string{
	"file d/old content=x", "file d/olddir/f", "file d/stays content=s",
	"file hidden/theirs", "file hidden/sub/theirs", "file was/before", "file then/before",
	"file file content=old", "file other content=old", "file gone content=x", "file dirtofile/sub/f",
	"file filetodir content=f", "file inopaque/x", "file inopaque/y", "file inopaque/z content=old",
}

const changed = "d/ d/new=n d/stays=s dirtofile=f file=new filetodir/ filetodir/f=x hidden/ hidden/mine=m inopaque/ inopaque/z=z other=new then/ then/now=w was/ was/now=w"

// The layer over the lower tree is the same tree, whether applied onto it or
// mounted over it, with each kind of whiteout.
func TestApply_FormsAgree(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := testenv.Scratch(t, fs)
		lower, plain := filepath.Join(dir, "lower"), filepath.Join(dir, "plain")
		testenv.Tree(t, lower, lowerTree...)
		testenv.Tree(t, plain, lowerTree...)
		out := mustApply(t, plain, changes(t))
		if got := brief(t, plain); got != changed {
			t.Errorf("plain: got  %s\nwant %s", got, changed)
		}
		if out.Whiteouts != 10 || out.Opaque != 2 || out.WhiteoutsAs != "" || out.Inexpressible != 0 {
			t.Errorf("result %+v", out)
		}
		for _, as := range []layer.WhiteoutAs{layer.DeviceWhiteout, layer.XattrWhiteout} {
			for _, user := range []bool{false, true} {
				t.Run(string(as)+" "+map[bool]string{false: "trusted", true: "user"}[user], func(t *testing.T) {
					if user {
						testenv.Needs(t, fs, testenv.UserXattrMarks)
					}
					if as == layer.XattrWhiteout {
						testenv.Needs(t, fs, testenv.XattrWhiteouts)
					}
					formsAgree(t, dir, lower, plain, as, user)
				})
			}
		}
	})
}

func formsAgree(t *testing.T, dir, lower, plain string, as layer.WhiteoutAs, user bool) {
	top, err := os.MkdirTemp(dir, "f")
	if err != nil {
		t.Fatal(err)
	}
	upper, empty := filepath.Join(top, "upper"), filepath.Join(top, "empty")
	option := ""
	if user {
		option = "userxattr"
	}
	form := func(o *layer.ApplyOptions) { o.Form, o.Whiteouts, o.UserXattr = layer.Overlay, as, user }
	for range 2 { // the second finds the first there
		out := mustApply(t, upper, changes(t), form)
		if out.WhiteoutsAs != as {
			t.Errorf("whiteouts as %q", out.WhiteoutsAs)
		}
		// An upper layer without changes over it: xattr whiteouts are for lower layers.
		merged := testenv.Mount(t, testenv.Overlay{Lower: []string{upper, lower}, Upper: empty, Options: option})
		same(t, "mounted", snapshot(t, plain)[1:], snapshot(t, merged)[1:])
		testenv.Unmount(t, merged)
	}
}

// No attribute in a layer becomes a mark of the overlay, and programs see what
// the layer has.
func TestApply_Escapes(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Ext4)
	data := archive(t, dirEntry("d").xattr("trusted.overlay.opaque", "y").xattr("user.overlay.opaque", "y").xattr("trusted.overlay.overlay.x", "z"))
	for _, c := range []struct {
		user bool
		want string
	}{
		{false, "trusted.overlay.overlay.opaque=y trusted.overlay.overlay.overlay.x=z user.overlay.opaque=y"},
		{true, "trusted.overlay.opaque=y trusted.overlay.overlay.x=z user.overlay.overlay.opaque=y"},
	} {
		to := filepath.Join(dir, "trusted")
		if c.user {
			to = filepath.Join(dir, "user")
		}
		mustApply(t, to, data, overlayForm, func(o *layer.ApplyOptions) { o.UserXattr = c.user })
		if got := attributes(t, filepath.Join(to, "d")); got != c.want {
			t.Errorf("userxattr %v: got %s, want %s", c.user, got, c.want)
		}
	}
	out := mustApply(t, filepath.Join(dir, "oci"), data, func(o *layer.ApplyOptions) { o.Xattrs = layer.XattrsOCI })
	if got := attributes(t, filepath.Join(dir, "oci/d")); got != "" || out.Skipped != 3 {
		t.Errorf("left out: %s, %+v", got, out)
	}
}

// On an overlay the kernel escapes, and makes no devices 0:0.
func TestApply_OntoOverlay(t *testing.T) {
	fs := testenv.Ext4
	testenv.Needs(t, fs, testenv.XattrEscapes)
	dir := testenv.Scratch(t, fs)
	lower := filepath.Join(dir, "lower")
	testenv.Tree(t, lower)
	merged := testenv.Mount(t, testenv.Overlay{Lower: []string{lower}, Upper: filepath.Join(dir, "upper")})
	data := archive(t, dirEntry("d").xattr("trusted.overlay.redirect", "/etc"), reg(".wh.f", ""))
	mustApply(t, filepath.Join(merged, "plain"), data)
	if got := attributes(t, filepath.Join(merged, "plain/d")); got != "trusted.overlay.redirect=/etc" {
		t.Errorf("seen: %s", got)
	}
	if got := attributes(t, filepath.Join(dir, "upper/plain/d")); !strings.Contains(got, "trusted.overlay.overlay.redirect=/etc") {
		t.Errorf("stored: %s", got)
	}
	out := mustApply(t, filepath.Join(merged, "overlay"), data, overlayForm)
	if out.WhiteoutsAs != layer.XattrWhiteout {
		t.Errorf("%+v", out)
	}
	if _, err := apply(t, filepath.Join(merged, "device"), data, overlayForm, func(o *layer.ApplyOptions) { o.Whiteouts = layer.DeviceWhiteout }); err == nil {
		t.Error("a device 0:0 on an overlay")
	}
	if got := attributes(t, filepath.Join(merged, "overlay")); got != "trusted.overlay.opaque=x" {
		t.Errorf("announced: %s", got)
	}
}

func attributes(t *testing.T, path string) string {
	t.Helper()
	names, err := xattr.LList(path)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, n := range names {
		v, err := xattr.LGet(path, n)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, n+"="+string(v))
	}
	sortStrings(words)
	return strings.Join(words, " ")
}

// The root of a layer can't be opaque: the mark is there, and counted.
func TestApply_OpaqueRoot(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	out := mustApply(t, filepath.Join(dir, "o"), archive(t, reg(".wh..wh..opq", ""), reg("f", "")), overlayForm)
	if out.Inexpressible != 1 || out.Opaque != 1 || attributes(t, filepath.Join(dir, "o")) != "trusted.overlay.opaque=y" {
		t.Errorf("%+v", out)
	}
}
