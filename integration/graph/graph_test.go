package graph_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/integration/graph"
	"github.com/overlaydiff/overlaydiff/integration/graph/drivertest"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// driver is the least that a graph driver is: a directory for each layer, and an
// overlay mount of it over those that it is on.
type driver struct {
	tb   testing.TB
	home string
	ids  []layer.IDMap
	on   map[string]string // parents
	// shy: the layers' directories are not to be read, see [graph.Open].
	shy bool
}

func open(tb testing.TB, home string, shift uint32) drivertest.Driver {
	d := &driver{tb: tb, home: home, on: map[string]string{}}
	if shift > 0 {
		d.ids = []layer.IDMap{{Container: 0, Host: shift, Size: 65536}}
	}
	return d
}

func (d *driver) dir(id string) string { return filepath.Join(d.home, id) }

func (d *driver) Create(id, parent string) error {
	d.on[id] = parent
	return errors.Join(os.MkdirAll(d.dir(id), 0o755), os.Mkdir(d.dir(id)+".work", 0o755), os.MkdirAll(d.dir("nothing"), 0o755))
}

func (d *driver) Stack(id string) (diff.Stack, error) {
	if _, ok := d.on[id]; !ok {
		return diff.Stack{}, fmt.Errorf("no layer %s", id)
	}
	s := diff.Stack{Upper: d.dir(id)}
	for p := d.on[id]; p != ""; p = d.on[p] {
		s.Lower = append(s.Lower, d.dir(p))
	}
	if d.shy {
		s.Unknown = []string{"an option that nobody knows"}
	}
	return s, nil
}

func (d *driver) mount(id, work string) (string, func() error, error) {
	s, err := d.Stack(id)
	if err != nil {
		return "", nil, err
	}
	o := mountutil.Options{Lower: append(s.Lower, d.dir("nothing")), Upper: s.Upper, Work: work}
	if work == "" {
		o.Lower, o.Upper = append([]string{s.Upper}, o.Lower...), ""
	}
	m, err := mountutil.Mount(d.tb.Context(), o)
	if err != nil {
		return "", nil, err
	}
	return m.Path(), m.Close, nil
}

func (d *driver) Mount(id string) (string, func() error, error) { return d.mount(id, "") }
func (d *driver) Edit(id string) (string, func() error, error)  { return d.mount(id, d.dir(id)+".work") }

func (d *driver) open(id, parent string) (*graph.Diff, error) {
	return graph.Open(d.tb.Context(), d, id, parent, overlaydiff.Options{Kinds: true})
}

func (d *driver) Diff(id, parent string) (io.ReadCloser, error) {
	c, err := d.open(id, parent)
	if err != nil {
		return nil, err
	}
	return c.Layer(d.tb.Context(), layer.ExportOptions{UIDs: d.ids, GIDs: d.ids}), nil
}

func (d *driver) Changes(id, parent string) (list []string, err error) {
	c, err := d.open(id, parent)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for change, err := range diff.WithParents(c.Changes(d.tb.Context())) {
		if err != nil {
			return nil, err
		}
		list = append(list, fmt.Sprintf("%c %s", change.Kind.Letter(), change.Path))
	}
	return list, nil
}

func (d *driver) DiffSize(id, parent string) (int64, error) {
	c, err := d.open(id, parent)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.Size(d.tb.Context())
}

func (d *driver) ApplyDiff(id, parent string, r io.Reader) (int64, error) {
	s, err := d.Stack(id)
	if err != nil {
		return 0, err
	}
	on, err := graph.IsOn(d, s, parent)
	if err != nil {
		return 0, err
	}
	o := layer.ApplyOptions{UIDs: d.ids, GIDs: d.ids}
	if on {
		return graph.Apply(d.tb.Context(), s, r, o)
	}
	return graph.ApplyMounted(d.tb.Context(), editable{d}, id, r, o)
}

// editable mounts layers for writing.
type editable struct{ *driver }

func (d editable) Mount(id string) (string, func() error, error) { return d.Edit(id) }

// Stock: there is no other program here to ask.
func (d *driver) Stock(id, parent string) ([]string, error) { return d.Changes(id, parent) }

func TestDriver(t *testing.T) { drivertest.Run(t, open) }

// A layer whose directories can't be read natively is mounted and compared, with the
// same answers.
func TestDriver_Mounted(t *testing.T) {
	drivertest.Run(t, func(tb testing.TB, home string, shift uint32) drivertest.Driver {
		d := open(tb, home, shift).(*driver)
		d.shy = true
		return d
	})
}

// Which of the two it is says the diff itself.
func TestOpen(t *testing.T) {
	for _, c := range []struct {
		id, parent, engine string
		shy                bool
	}{
		{"top", "middle", "native", false}, {"base", "", "native", false},
		{"top", "base", "naive", false}, {"top", "", "naive", false}, {"top", "middle", "naive", true},
	} {
		d := open(t, testenv.Scratch(t, testenv.Tmpfs), 0).(*driver)
		for _, layer := range [][2]string{{"base", ""}, {"middle", "base"}, {"top", "middle"}} {
			if err := d.Create(layer[0], layer[1]); err != nil {
				t.Fatal(err)
			}
		}
		d.shy = c.shy
		diff, err := d.open(c.id, c.parent)
		if err != nil {
			t.Fatal(err)
		}
		if diff.Engine() != c.engine {
			t.Errorf("%+v: %s, %s", c, diff.Engine(), diff.Reason())
		}
		if err := errors.Join(diff.Close(), diff.Close()); err != nil {
			t.Error(err)
		}
	}
}
