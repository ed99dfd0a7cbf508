package moby

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/moby/go-archive"
	"github.com/moby/moby/v2/daemon/graphdriver"
	"github.com/moby/sys/user"

	"github.com/overlaydiff/overlaydiff/integration/graph/drivertest"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// underTest is the driver as drivertest takes it.
type underTest struct{ *Driver }

func open(tb testing.TB, home string, shift uint32) drivertest.Driver {
	tb.Helper()
	var ids user.IdentityMapping
	if shift > 0 {
		ids.UIDMaps = []user.IDMap{{ID: 0, ParentID: int64(shift), Count: 65536}}
		ids.GIDMaps = ids.UIDMaps
	}
	d, err := Init(home, nil, ids)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.Cleanup(); err != nil {
			tb.Error(err)
		}
	})
	return underTest{d.(*Driver)}
}

func (d underTest) Create(id, parent string) error { return d.Driver.CreateReadWrite(id, parent, nil) }

func (d underTest) Edit(id string) (string, func() error, error) { return d.Mount(id) }

func (d underTest) Changes(id, parent string) ([]string, error) {
	return lines(d.Driver.Changes(id, parent))
}

// Stock is what overlay2 answers with.
func (d underTest) Stock(id, parent string) ([]string, error) {
	return lines(graphdriver.NewNaiveDiffDriver(d.Driver.Driver, user.IdentityMapping{}).Changes(id, parent))
}

func lines(changes []archive.Change, err error) (list []string, _ error) {
	for _, c := range changes {
		list = append(list, c.Kind.String()+" "+c.Path)
	}
	return list, err
}

func TestDriver(t *testing.T) { drivertest.Run(t, open) }

// redirecting is the driver where the kernel's default is redirect_dir=on: a directory
// that is renamed stays where it is, and another says so.
type redirecting struct{ underTest }

func (d redirecting) Edit(id string) (string, func() error, error) {
	s, err := d.Stack(id)
	if err != nil || len(s.Lower) == 0 {
		return d.underTest.Edit(id)
	}
	m, err := mountutil.Mount(context.Background(), mountutil.Options{
		Lower: s.Lower, Upper: s.Upper, Work: s.Work, Index: "off", RedirectDir: "on",
	})
	if err != nil {
		return "", nil, err
	}
	return m.Path(), m.Close, nil
}

// With redirects overlay2 reads no upper directory.
func TestDriver_Redirects(t *testing.T) {
	drivertest.Run(t, func(tb testing.TB, home string, shift uint32) drivertest.Driver {
		return redirecting{open(tb, home, shift).(underTest)}
	})
	d := redirecting{open(t, filepath.Join(testenv.Scratch(t, testenv.Ext4), Name), 0).(underTest)}
	for _, layer := range []struct {
		id, parent string
		edit       func(dir string)
	}{
		{"base", "", func(dir string) { testenv.Tree(t, dir, "file d/a/f") }},
		{"top", "base", func(dir string) { testenv.Do(t, dir, "rename d e") }},
	} {
		err := d.Create(layer.id, layer.parent)
		if err != nil {
			t.Fatal(err)
		}
		dir, unmount, err := d.Edit(layer.id)
		if err != nil {
			t.Fatal(err)
		}
		layer.edit(dir)
		if err := unmount(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := d.open("top", "base")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil || c.Engine() != "native" {
		t.Errorf("%s, %s, error %v", c.Engine(), c.Reason(), err)
	}
	got, err := d.Changes("top", "base")
	if want := []string{"D /d", "A /e", "A /e/a", "A /e/a/f"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("changes %q, want %q, error %v", got, want, err)
	}
}

// What docker info says of diffs is overlaydiff's own answer.
func TestStatus(t *testing.T) {
	d := open(t, t.TempDir()+"/"+Name, 0).(underTest)
	if d.String() != Name {
		t.Errorf("its name is %s", d)
	}
	for _, row := range d.Status() {
		if row[0] == "Native Overlay Diff" && row[1] == "true" {
			return
		}
	}
	t.Errorf("status %q", d.Status())
}
