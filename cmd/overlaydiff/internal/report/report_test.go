package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// surveyed makes an overlay of a lower tree and operations, and surveys it.
func surveyed(t *testing.T, lower, ops []string) (tree *survey.Tree, merged string) {
	t.Helper()
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	s := diff.Stack{Lower: []string{dir + "/lower"}, Upper: dir + "/upper", Work: dir + "/work", Features: diff.Features{RedirectFollow: true}}
	testenv.Tree(t, s.Lower[0], lower...)
	merged = testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work})
	testenv.Do(t, merged, ops...)
	for _, name := range evil {
		if err := os.WriteFile(filepath.Join(merged, name), []byte("12345"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := overlaydiff.Open(t.Context(), s, overlaydiff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if tree, err = survey.Build(t.Context(), d, survey.Options{Waste: true}); err != nil {
		t.Fatal(err)
	}
	return tree, merged
}

// evil are names that want to be more than text.
var evil = []string{
	"<script>alert(1)<", "'\"><img src=x onerror=alert(1)>", "a\x1b[31m\nb\u202ec", "\xff\xfe", "--><!--", "{{.}}", "</script><script>alert(1)<", "]]>", strings.Repeat("n", 255), "&lt;b&gt;", "\u2028",
}

func init() {
	for i, name := range evil {
		evil[i] = strings.ReplaceAll(name, "/", "\u2215") // a name can't have it
	}
}

var lower = []string{"file same size=900", "file meta size=800", "file gone/a size=700", "file gone/b size=70", "file conf size=10"}

var ops = []string{"open same", "chmod meta 0600", "rmtree gone", "write conf x", "mkdir big", "truncate conf 3000"}

func written(t *testing.T, overlays ...Overlay) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, time.Unix(1e9, 0).UTC(), overlays...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// maps returns what the maps of a page are drawn from.
func maps(t *testing.T, page string) (roots []*cell) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?s)<script type="application/json"[^>]*>(.*?)</script>`).FindAllStringSubmatch(page, -1) {
		var c cell
		if err := json.Unmarshal([]byte(m[1]), &c); err != nil {
			t.Fatal(err)
		}
		roots = append(roots, &c)
	}
	return roots
}

func TestWrite(t *testing.T) {
	tree, _ := surveyed(t, lower, ops)
	usage := diff.Usage{DiskBytes: 12345}
	page := written(t, Overlay{
		Name: "<i>web</i>", Engine: "native", Reason: "why", Tree: tree, Guessed: true, Usage: &usage,
		Layers: []Layer{{"upper", "/up\x1b", 5000}, {"lower", "low", 10000}, {"data", "d", -1}},
	})
	for _, want := range []string{
		"2001-09-09 01:46:40 UTC", "&lt;i&gt;web&lt;/i&gt;", "native engine: why.", "contents were not read",
		"<dt>on disk</dt><dd title=\"12.1 KiB (12,345 bytes)\">12.1 KiB</dd>",
		"Copied up, not changed: <b>900 B</b> in 1 place<", "Only the metadata changed: <b>800 B</b> in 1 place<", "Deleted, kept below: <b>770 B</b> in 1 place<",
		"not known", `width="50" height="8"`, "<td>all</td><td class=\"num\">14.6 KiB</td>",
		`<td class="path">/meta <span class="tag">metadata only</span></td>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if strings.Contains(page, "smallest entries") {
		t.Error("it says that something is left out")
	}
	// Nothing is fetched, nothing but our script and style is run.
	if bad := regexp.MustCompile(`(?i)<[^>]*\s(src|href)=|url\(|@import|https?://[^w]`).FindString(page); bad != "" {
		t.Errorf("the page refers to something: %s", bad)
	}
	if !strings.Contains(page, `content="default-src 'none'; script-src 'sha256-`) {
		t.Error("no policy")
	}
	root := maps(t, page)[0]
	if root.Bytes != tree.Node(0).Sum.Bytes || root.Bytes == 0 {
		t.Errorf("the map has %d bytes", root.Bytes)
	}
}

// Whatever a container calls its files, it stays text.
func TestWrite_Injection(t *testing.T) {
	tree, _ := surveyed(t, lower, ops)
	page := written(t, Overlay{Name: strings.Join(evil, " "), Engine: evil[0], Reason: evil[1], Tree: tree, Layers: []Layer{{evil[0], evil[1], 1}}})
	text := page
	for _, ours := range []string{script, style} {
		text = strings.Replace(text, ours, "", 1)
	}
	if n := strings.Count(text, "<script"); n != 2 {
		t.Errorf("%d scripts", n)
	}
	for _, bad := range []string{"<img", "<script>alert", "\x1b", "\u202e", "\xff", "-->", "\u2028"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q is in the page", bad)
		}
	}
	for _, want := range []string{"&lt;script&gt;alert(1)&lt;", `a\x1b[31m\nb\u202ec`, strings.Repeat("n", 255)} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	names := map[string]bool{}
	for _, c := range maps(t, page)[0].In {
		names[c.Name] = true
	}
	for _, name := range evil {
		if !names[diff.QuotePath(name)] {
			t.Errorf("no %q in the map: %v", name, names)
		}
	}
}

func sumOf(c *cell) (sum int64, count int) {
	for _, in := range c.In {
		s, n := sumOf(in)
		sum, count = sum+s, count+n
	}
	if len(c.In) == 0 {
		return c.Bytes, 1
	}
	return sum, count + 1
}

// What is too much for a page is added up, and the sums stay right.
func TestCells_Many(t *testing.T) {
	var ops []string
	for d := range 30 {
		ops = append(ops, fmt.Sprintf("mkdir d%02d", d))
		for f := range 30 {
			ops = append(ops, fmt.Sprintf("truncate d%02d/f%02d %d", d, f, 1000*d+f))
		}
	}
	for i, op := range ops {
		if f := strings.Fields(op); f[0] == "truncate" {
			ops[i] = "create " + f[1] + "\n" + op
		}
	}
	tree, _ := surveyed(t, nil, strings.Split(strings.Join(ops, "\n"), "\n"))
	want := tree.Node(0).Sum
	for _, most := range []int{1, 2, 10, 100, 500, 10000} {
		root, small := cells(tree, most)
		sum, count := sumOf(root)
		if sum != want.Bytes || root.Bytes != want.Bytes {
			t.Errorf("of %d cells the sum is %d and %d, not %d", most, sum, root.Bytes, want.Bytes)
		}
		if count > 2*most+1 || most > 1000 && small != 0 || most < 500 && small == 0 {
			t.Errorf("of at most %d cells there are %d, and %d small ones", most, count, small)
		}
	}
}

func TestBiggest(t *testing.T) {
	tree, _ := surveyed(t, lower, ops)
	got := biggest(tree, 3, func(n *survey.Node) int64 {
		if n.Type == diff.Dir {
			return 0
		}
		return n.Sum.Bytes
	})
	want := []entry{{Path: "/conf", Kind: diff.Modify, Bytes: 3000}, {Path: "/meta", Kind: diff.Modify, Waste: "metadata only", Bytes: 800}}
	if d := cmp.Diff(want, got[:2]); d != "" || len(got) != 3 {
		t.Errorf("%d; biggest (-want +got):\n%s", len(got), d)
	}
}

func TestCompare(t *testing.T) {
	a, _ := surveyed(t, lower, []string{"mkdir x", "create x/one 1", "mkdir y", "truncate conf 100000"})
	b, _ := surveyed(t, lower, []string{"mkdir x", "create x/one 1", "create x/two 2", "mkdir z", "create z/big 1", "truncate z/big 900000"})
	c := compare(Overlay{Name: "a", Tree: a}, Overlay{Name: "b", Tree: b})
	want := []difference{{"/z", [2]int64{0, 900000}}, {"/conf", [2]int64{100000, 0}}}
	if d := cmp.Diff(want, c.Directories); d != "" {
		t.Errorf("differences (-want +got):\n%s", d)
	}
	same := int64(len(evil)) + 2 // x and x/one
	if c.Both != same || c.Only != [2]int64{2, 3} {
		t.Errorf("%d in both, %v only in one; want %d", c.Both, c.Only, same)
	}
	page := written(t, Overlay{Name: "a", Tree: a}, Overlay{Name: "b", Tree: b})
	for _, want := range []string{"Comparison", "+878.9 KiB", "-97.7 KiB", "overlay-1"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
}

func TestWrite_NoWasteKnown(t *testing.T) {
	tree, _ := surveyed(t, nil, nil)
	tree.NoWaste = errors.New("nobody can tell")
	page := written(t, Overlay{Name: "a", Tree: tree})
	if !strings.Contains(page, "Not known: nobody can tell") || strings.Contains(page, "copied up for nothing") {
		t.Error("the page shows waste that is not known")
	}
}
