package native_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func (o overlay) explain(t *testing.T, path string) (diff.Explanation, error) {
	t.Helper()
	e, err := native.Open(t.Context(), o.stack)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return e.Explain(t.Context(), path, diff.Options{OnRace: func(path string) error {
		t.Errorf("a race at %q, where nothing runs", path)
		return nil
	}})
}

// told is an explanation as lines: the change, then what each layer has, as
//
//	lower 1: old /f file mc, new /f file < upper /f whiteout; redirect=/g @/d
//
// with m where the metadata are shown, c the content, d where it is merged.
func told(x diff.Explanation) []string {
	said := []string{"nothing"}
	if x.Change != nil {
		said[0] = strings.TrimSpace(x.Change.String() + " " + x.Change.What.String())
	}
	for _, l := range x.Layers {
		line := string(l.Kind)
		if l.Number > 0 {
			line += fmt.Sprint(" ", l.Number)
		}
		var has []string
		for _, view := range []struct {
			name string
			*diff.Place
		}{{"old", l.Old}, {"new", l.New}} {
			if view.Place != nil {
				has = append(has, view.name+" "+toldPlace(l.Kind, view.Place))
			}
		}
		line += ": " + strings.Join(has, ", ")
		for _, m := range l.Marks {
			line += "; " + m.Xattr[strings.LastIndex(m.Xattr, ".")+1:] + "=" + m.Value + " @" + m.At
		}
		said = append(said, line)
	}
	return said
}

func toldPlace(kind diff.LayerKind, p *diff.Place) string {
	s := p.At + " " + string(p.Has)
	if kind == diff.LayerIndex {
		s = string(p.Has) // the handle of an inode
	}
	flags := ""
	for i, is := range []bool{p.Metadata, p.Content, p.Merged} {
		if is {
			flags += "mcd"[i : i+1]
		}
	}
	if flags != "" {
		s += " " + flags
	}
	if h := p.HiddenBy; h != nil {
		s += fmt.Sprintf(" < %s %s %s", h.Kind, h.At, h.Has)
	}
	return s
}

type explainCase struct {
	name, path string
	layers
	want []string
}

func TestExplain(t *testing.T) {
	needs := map[string]testenv.Need{"xattr whiteout": testenv.XattrWhiteouts, "userxattr": testenv.UserXattrMarks}
	for _, c := range explainCases {
		t.Run(c.name, func(t *testing.T) {
			fs := c.fs()
			testenv.Needs(t, fs, c.needs()...)
			if need := needs[c.name]; need != "" {
				testenv.Needs(t, fs, need)
			}
			o := c.make(t, testenv.Scratch(t, fs))
			for _, when := range []string{"before", "after"} { // it is mounted
				x, err := o.explain(t, c.path)
				if d := cmp.Diff(c.want, told(x)); d != "" || err != nil {
					t.Errorf("%s: error %v, explanation (-want +got):\n%s", when, err, d)
				}
				if when == "before" {
					o.mount(t)
				}
			}
		})
	}
}

const follow = "redirect_dir=on,metacopy=on"

var explainCases = []explainCase{
	{"whiteout", "/d/f", layers{lower: []string{"file d/f", "file d/f"}, upper: "whiteout d/f"}, []string{
		"D /d/f",
		"upper: new /d/f whiteout",
		"lower 1: old /d/f file mc, new /d/f file < upper /d/f whiteout",
		"lower 2: old /d/f file < lower /d/f file, new /d/f file < upper /d/f whiteout",
	}},
	{"whiteout above", "/d/e/f", layers{lower: []string{"file d/e/f"}, upper: "whiteout d"}, []string{
		"D /d",
		"upper: new /d whiteout",
		"lower 1: old /d/e/f file mc, new /d/e/f file < upper /d whiteout",
	}},
	{"not in what went", "/d/e/g", layers{lower: []string{"file d/e/f"}, upper: "whiteout d"}, []string{
		"nothing",
		"upper: new /d whiteout",
		"lower 1: old /d/e/g nothing, new /d/e/g nothing < upper /d whiteout",
	}},
	{"stale whiteout", "/f", layers{lower: []string{"dir d"}, upper: "whiteout f"}, []string{
		"nothing",
		"upper: new /f whiteout",
		"lower 1: old /f nothing, new /f nothing < upper /f whiteout",
	}},
	{"whiteout in the middle", "/f", layers{lower: []string{"whiteout f", "file f"}, upper: "file f"}, []string{
		"A /f",
		"upper: new /f file mc",
		"lower 1: old /f whiteout, new /f whiteout < upper /f file",
		"lower 2: old /f file < lower /f whiteout, new /f file < upper /f file",
	}},
	{"xattr whiteout", "/f", layers{lower: []string{"file f"}, upper: "file f" + xwhite}, []string{
		"D /f",
		"upper: new /f xattr whiteout; whiteout= @/f",
		"lower 1: old /f file mc, new /f file < upper /f xattr whiteout",
	}},
	{"userxattr", "/d/f", layers{options: "userxattr", lower: []string{"file d/f"}, upper: "dir d xattr.user.overlay.opaque=y" + redirect + "x"}, []string{
		"D /d/f",
		"upper: new /d/f nothing; opaque=y @/d",
		"lower 1: old /d/f file mc, new /d/f file < upper /d opaque directory",
	}},
	{"marks that are data", "/d/f", layers{lower: []string{"file d/f"}, upper: "dir d xattr.user.overlay.opaque=y"}, []string{
		"nothing",
		"upper: new /d/f nothing",
		"lower 1: old /d/f file mc, new /d/f file mc",
	}},
	{"merged directory", "/d", layers{lower: []string{"file d/1", "file d/2", "file e"}, upper: "file d/u"}, []string{
		"nothing",
		"upper: new /d dir md",
		"lower 1: old /d dir md, new /d dir d",
		"lower 2: old /d dir d, new /d dir d",
		"lower 3: old /d nothing, new /d nothing",
	}},
	{"opaque in the middle", "/d/f", layers{lower: []string{"dir d" + opaque + "y", "file d/f"}, upper: "file d/u"}, []string{
		"nothing",
		"upper: new /d/f nothing",
		"lower 1: old /d/f nothing, new /d/f nothing; opaque=y @/d",
		"lower 2: old /d/f file < lower /d opaque directory, new /d/f file < lower /d opaque directory",
	}},
	{"directory becomes a file", "/d/f", layers{lower: []string{"file d/f"}, upper: "file d"}, []string{
		"C /d type",
		"upper: new /d file",
		"lower 1: old /d/f file mc, new /d/f file < upper /d file",
	}},
	{"not a directory", "/l/f", layers{lower: []string{"symlink l -> d; file d/f"}, upper: "dir d"}, []string{
		"nothing",
		"upper: new /l nothing",
		"lower 1: old /l symlink m, new /l symlink m",
	}},
	{"file between directories", "/x", layers{lower: []string{"file x", "file x/f"}, upper: "file x/g"}, []string{
		"C /x type",
		"upper: new /x dir md",
		"lower 1: old /x file mc, new /x file",
		"lower 2: old /x dir < lower /x file, new /x dir < lower /x file",
	}},
	{"redirect", "/new/s/f", layers{follow, []string{"file new/s/f", "file old/s/f content=x"}, nil, "whiteout old; dir new" + redirect + "old"}, []string{
		"C /new/s/f size,content",
		"upper: new /new/s nothing; redirect=old @/new",
		"lower 1: old /new/s/f file mc, new /old nothing",
		"lower 2: old /new nothing, new /old/s/f file mc",
	}},
	{"absolute redirect below an opaque directory", "/o/new/f", layers{follow, []string{"dir p" + redirect + "/q", "file q/old/f"}, nil, "dir o" + opaque + "y; dir o/new" + redirect + "/p/old"}, []string{
		"A /o/new/f",
		"upper: new /o/new/f nothing; opaque=y @/o; redirect=/p/old @/o/new",
		"lower 1: old /o nothing, new /p/old nothing; redirect=/q @/p",
		"lower 2: old /o nothing, new /q/old/f file mc",
	}},
	{"metacopy", "/f", layers{follow, []string{"file g size=4" + metacopy, "file g content=data", "file g content=tada"}, nil, "file f size=4" + metacopy + redirect + "g"}, []string{
		"A /f",
		"upper: new /f metacopy file m; metacopy= @/f; redirect=g @/f",
		"lower 1: old /f nothing, new /g metacopy file; metacopy= @/g",
		"lower 2: old /f nothing, new /g file c",
		"lower 3: old /f nothing, new /g file < lower /g file",
	}},
	{"leftover marks", "/f", layers{follow, []string{"file f"}, nil, "file f" + redirect + "g" + opaque + "y"}, []string{
		"nothing",
		"upper: new /f file mc",
		"lower 1: old /f file mc, new /f file < upper /f file",
	}},
	{"data-only", "/f", layers{"metacopy=on", []string{blob("f", "/b/1")}, []string{"dir b", "file b/1 content=data", "file b/1 content=tada"}, "file f size=4 mode=600" + metacopy}, []string{
		"C /f mode",
		"upper: new /f metacopy file m; metacopy= @/f",
		"lower 1: old /f metacopy file m, new /f metacopy file; metacopy= @/f; redirect=/b/1 @/f",
		"data 1: old /b/1 nothing, new /b/1 nothing",
		"data 2: old /b/1 file c, new /b/1 file c",
		"data 3: ",
	}},
	{"data-only, not asked", "/g", layers{"metacopy=on", []string{blob("f", "/b/1") + "file g"}, []string{"file b/1 content=data"}, "file h"}, []string{
		"nothing",
		"upper: new /g nothing",
		"lower 1: old /g file mc, new /g file mc",
		"data 1: ",
	}},
	{"root", "/", layers{lower: []string{"file a", "file b"}, upper: "dir . mode=700" + opaque + "y"}, []string{
		"nothing",
		"upper: new / dir md",
		"lower 1: old / dir md, new / dir d",
		"lower 2: old / dir d, new / dir d",
	}},
}

// A name that only the index knows of.
func TestExplain_Index(t *testing.T) {
	o := layers{options: "index=on", lower: []string{"file a content=x; link b a; link d/c a; file other"}}.make(t, testenv.Scratch(t, testenv.Ext4))
	testenv.Do(t, o.mount(t).new, "write a y")
	for path, want := range map[string][]string{
		"/a":     {"C /a size,content,mtime", "upper: new /a file mc", "lower 1: old /a file mc, new /a file < upper /a file"},
		"/d/c":   {"C /d/c size,content,mtime", "upper: new /d nothing", "index: new file mc", "lower 1: old /d/c file mc, new /d/c file"},
		"/other": {"nothing", "upper: new /other nothing", "lower 1: old /other file mc, new /other file mc"},
	} {
		x, err := o.explain(t, path)
		if d := cmp.Diff(want, told(x)); d != "" || err != nil {
			t.Errorf("%s: error %v, explanation (-want +got):\n%s", path, err, d)
		}
		if x.New == nil || path != "/other" && x.New.Size != 2 {
			t.Errorf("%s: the new view shows %+v", path, x.New)
		}
	}
}

// What differs, by value, and what differs and does not count.
func TestExplain_Differences(t *testing.T) {
	long := strings.Repeat("x", 100)
	o := layers{
		lower: []string{"file f content=old mode=644 xattr.trusted.a=1 xattr.trusted.b=2 xattr.security.ima=\"\\x01\"; link g f; dir d mtime=5; symlink l -> a; char c 1:3; file s xattr.security.ima=\"\\x01\""},
		upper: "file f content=newer mode=4755 uid=1 gid=2 mtime=-1.5 xattr.trusted.b=3 xattr.trusted.c=" + long + "; dir d mtime=6; symlink l -> \"\\n\"; char c 1:260; file s xattr.security.ima=\"\\x01\\x02\"",
	}.make(t, testenv.Scratch(t, testenv.Ext4))
	for path, want := range map[string][2][]diff.Difference{
		"/f": {{
			{What: "mode", Old: "0644", New: "4755"}, {What: "uid", Old: "0", New: "1"}, {What: "gid", Old: "0", New: "2"},
			{What: "size", Old: "3", New: "5"}, {What: "content"}, {What: "mtime", Old: "2001-09-09T01:46:40Z", New: "1969-12-31T23:59:59.5Z"},
			{What: "xattrs", Name: "trusted.a", Old: `"1"`}, {What: "xattrs", Name: "trusted.b", Old: `"2"`, New: `"3"`},
			{What: "xattrs", Name: "trusted.c", New: `"` + long[:64] + `"…`},
		}, {{What: "links", Old: "2", New: "1"}, {What: "xattrs", Name: "security.ima", Old: `"\x01"`}}},
		"/d": {{}, {{What: "mtime", Old: "1970-01-01T00:00:05Z", New: "1970-01-01T00:00:06Z"}}},
		"/l": {{{What: "target", Old: "a", New: `"\n"`}}, {}},
		"/c": {{{What: "device", Old: "1:3", New: "1:260"}}, {}},
		"/s": {{}, {{What: "xattrs", Name: "security.ima", Old: `"\x01"`, New: `"\x01\x02"`}}},
	} {
		x, err := o.explain(t, path)
		if d := cmp.Diff(want, [2][]diff.Difference{x.Differences, x.Ignored}); d != "" || err != nil {
			t.Errorf("%s: error %v, differences (-want +got):\n%s", path, err, d)
		}
		if len(want[0]) == 0 && x.Change != nil {
			t.Errorf("%s: %v, by what never counts", path, x.Change)
		}
	}
}

func TestExplain_Errors(t *testing.T) {
	o := layers{options: "redirect_dir=nofollow", lower: []string{"file d/f"}, upper: "dir e" + redirect + "d"}.make(t, testenv.Scratch(t, testenv.Tmpfs))
	var me *native.MarkError
	if x, err := o.explain(t, "/e/f"); !errors.As(err, &me) || me.Path != filepath.Join(o.stack.Upper, "e") || !errors.Is(err, syscall.EPERM) {
		t.Errorf("a redirect that is not followed: %+v, %v", x, err)
	}
	for _, path := range []string{"", "..", "/d/../f", "a\x00b"} {
		if x, err := o.explain(t, path); err == nil {
			t.Errorf("%q: %+v", path, x)
		}
	}
	for path, clean := range map[string]string{"d/f": "/d/f", "//d//f/": "/d/f", "./d/./f": "/d/f", "/": "/", ".": "/"} {
		if x, err := o.explain(t, path); x.Path != clean || err != nil {
			t.Errorf("%q: %q, %v", path, x.Path, err)
		}
	}
	if x, err := o.explain(t, "/d/"+strings.Repeat("n", 256)); err != nil || x.Old != nil || x.New != nil {
		t.Errorf("a name that is too long for any file: %+v, %v", x, err)
	}
	e, err := native.Open(t.Context(), o.stack)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Explain(ctx, "/d", diff.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What changes while it is explained is told as it was at one moment, or not.
func TestExplain_Races(t *testing.T) {
	o := layers{options: follow, lower: []string{"file d/f content=old; file e/f content=old; file g size=3", "file d/f; file e/g"}}.make(t, testenv.Scratch(t, testenv.Tmpfs))
	stop := loop(t, o.stack.Upper, `
		mkdir d
		create d/f new
		setxattr d trusted.overlay.opaque=y
		rename d e
		setxattr e trusted.overlay.redirect=d
		tofile d x
		unlink d
		symlink d /
		rmtree e
		create g new
		setxattr g trusted.overlay.metacopy=
		unlink g
		unlink d`)
	e, err := native.Open(t.Context(), o.stack)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	settled, raced := 0, 0
	for start := time.Now(); time.Since(start) < time.Second; {
		for _, path := range []string{"/d/f", "/e/f", "/e", "/g", "/d/f/x"} {
			x, err := e.Explain(t.Context(), path, diff.Options{})
			var race *diff.RaceError
			switch {
			case errors.As(err, &race):
				raced++
			case err != nil || x.Path != path || len(x.Layers) != 3:
				t.Fatalf("%s: %+v, %v", path, x, err)
			default:
				settled++
			}
		}
	}
	stop()
	t.Logf("%d settled, %d raced", settled, raced)
	if settled == 0 {
		t.Error("nothing was ever explained")
	}
}
