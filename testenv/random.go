package testenv

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Case is a layer stack as the operations that made it.
type Case struct {
	Seed uint64
	// Layers are the layers, bottom first. The operations of the first are done
	// on a plain directory, those of each other one through an overlay mount
	// over the layers before it; the last layer is the upper one.
	Layers [][]Op
}

// Random returns the case of a seed: one to five lower layers and an upper one
// on few names, so that the layers collide often. Where the operations of a
// layer don't fit what is there (an option of the mount decides, for one,
// whether a directory can be renamed), they are to be tried with [Attempt].
func Random(seed uint64) *Case {
	g := newGenerator(seed)
	c := &Case{Seed: seed}
	lowers := []int{1, 2, 3, 5}[g.IntN(4)]
	for layer := range lowers + 1 {
		n := 4 + g.IntN(16)
		if layer == 0 {
			n += 20 // nothing is there yet
		}
		ops := make([]Op, n)
		for i := range ops {
			ops[i] = g.op(layer == 0 && i < 20)
		}
		c.Layers = append(c.Layers, ops)
	}
	return c
}

// Upper returns the operations of the upper layer.
func (c *Case) Upper() []Op { return c.Layers[len(c.Layers)-1] }

// String returns the case as a script, one operation a line.
func (c *Case) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# seed %d\n", c.Seed)
	for i, ops := range c.Layers {
		if i == len(c.Layers)-1 {
			b.WriteString("# upper\n")
		} else {
			fmt.Fprintf(&b, "# lower layer %d from below\n", i)
		}
		for _, op := range ops {
			b.WriteString(op.String() + "\n")
		}
	}
	return b.String()
}

// Lowers makes the lower layers as directories in dir and returns them topmost
// first. The options are those of the mounts through which they are made.
func (c *Case) Lowers(tb testing.TB, dir, options string) []string {
	tb.Helper()
	var lowers []string
	for i, ops := range c.Layers[:len(c.Layers)-1] {
		layer := filepath.Join(dir, fmt.Sprintf("lower%d", i))
		root := layer
		if i == 0 {
			Tree(tb, layer)
		} else {
			root = Mount(tb, Overlay{Lower: lowers, Upper: layer, Options: options})
		}
		if err := Attempt(root, ops); err != nil {
			tb.Fatalf("%v, in\n%s", err, c)
		}
		if i > 0 {
			Unmount(tb, root)
		}
		lowers = slices.Insert(lowers, 0, layer)
	}
	return lowers
}

// generator has a rough idea of the tree, to aim most operations at something
// that is there; it need not be right.
type generator struct {
	*rand.Rand
	names []string
	kinds map[string]byte // path → d, f, l(ink) or s(pecial)
}

const maxDepth = 4

func newGenerator(seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), kinds: map[string]byte{}}
	odd := []string{"a b", "x,y", "x:y", `\`, "\xff", ".wh.x", "#1", "é", "a\nb", "=", "Z"}
	g.Shuffle(len(odd), func(i, j int) { odd[i], odd[j] = odd[j], odd[i] })
	g.names = append([]string{"a", "b", "a-b"}, odd[:3]...) // a-b sorts before a/b bytewise
	return g
}

func (g *generator) one(words ...string) string { return words[g.IntN(len(words))] }

// existing returns a path of one of the kinds, most of the time.
func (g *generator) existing(kinds string) string {
	paths := slices.DeleteFunc(slices.Sorted(maps.Keys(g.kinds)), func(p string) bool {
		return !strings.ContainsRune(kinds, rune(g.kinds[p]))
	})
	if len(paths) == 0 || g.IntN(20) == 0 {
		return g.fresh()
	}
	return paths[g.IntN(len(paths))]
}

// fresh returns a path in a directory; something may be there.
func (g *generator) fresh() string {
	dirs := []string{"."}
	for _, p := range slices.Sorted(maps.Keys(g.kinds)) {
		if g.kinds[p] == 'd' && strings.Count(p, "/") < maxDepth-1 {
			dirs = append(dirs, p)
		}
	}
	p := path.Join(dirs[g.IntN(len(dirs))], g.one(g.names...))
	for range 3 {
		if g.kinds[p] == 0 {
			break
		}
		p = path.Join(dirs[g.IntN(len(dirs))], g.one(g.names...))
	}
	return p
}

// verbsOf weights the verbs; those of making come first, and alone in the
// beginning of the bottom layer.
var (
	making = strings.Fields("create create create create mkdir mkdir mkdir mkdir symlink mknod link link tmpfile")
	all    = append(strings.Fields(`write write rewrite open truncate chmod chmod chown setxattr removexattr acl capability
		utimes unlink unlink unlink rmdir rmtree rmtree rename rename rename rename exchange exchange retarget todir tofile`),
		making...)
)

func (g *generator) op(make bool) Op {
	verbs := all
	if make {
		verbs = making
	}
	switch verb := g.one(verbs...); verb {
	case "create", "tmpfile", "mkdir", "symlink", "mknod":
		return g.newEntry(verb)
	case "link", "rename", "exchange":
		return g.twoNames(verb)
	case "unlink", "rmdir", "rmtree", "todir", "tofile", "retarget":
		return g.replace(verb)
	default:
		return g.change(verb)
	}
}

func (g *generator) content() string {
	return strings.Repeat(g.one("x", "y", "z\n"), g.IntN(4)*g.IntN(3))
}

func (g *generator) newEntry(verb string) Op {
	op, kind := Op{Verb: verb, Path: g.fresh()}, byte('f')
	switch verb {
	case "mkdir":
		op.Arg, kind = g.one("", "", "700"), 'd'
	case "symlink":
		op.Arg, kind = g.target(), 'l'
	case "mknod":
		// A char 0:0 is a whiteout in the bottom layer and refused elsewhere.
		op.Arg, kind = g.one("char:1:3", "char:0:1", "block:0:0", "block:259:77", "fifo", "socket", "char:0:0"), 's'
	default:
		op.Arg = g.content()
	}
	if g.kinds[op.Path] == 0 {
		g.kinds[op.Path] = kind
	}
	return op
}

// target returns the target of a symbolic link; nothing leads out of the tree.
func (g *generator) target() string {
	return g.one(append([]string{"dangling/target", "/nonexistent/overlaydiff"}, g.names...)...)
}

func (g *generator) twoNames(verb string) Op {
	op := Op{Verb: verb}
	switch verb {
	case "link":
		op.Path, op.Arg = g.existing("ffls"), g.fresh()
		if kind := g.kinds[op.Path]; g.kinds[op.Arg] == 0 && kind != 0 {
			g.kinds[op.Arg] = kind
		}
	case "rename":
		op.Path, op.Arg = g.existing(g.one("dfls", "d")), g.fresh()
		if g.IntN(4) == 0 {
			op.Arg = g.existing("dfls")
		}
		if op.Path != op.Arg {
			g.move(op.Path, op.Arg)
		}
	case "exchange":
		kinds := g.one("dfls", "d")
		op.Path, op.Arg = g.existing(kinds), g.existing(kinds)
		const aside = "\x00"
		g.move(op.Path, aside)
		g.move(op.Arg, op.Path)
		g.move(aside, op.Arg)
	}
	return op
}

func (g *generator) replace(verb string) Op {
	op := Op{Verb: verb}
	switch verb {
	case "rmdir", "rmtree":
		op.Path = g.existing("d")
		g.remove(op.Path)
	case "unlink":
		op.Path = g.existing("fls")
		g.remove(op.Path)
	case "retarget":
		op.Path, op.Arg = g.existing("l"), g.target()
	case "todir":
		op.Path = g.existing("fls")
		g.remove(op.Path)
		g.kinds[op.Path] = 'd'
	case "tofile":
		op.Path, op.Arg = g.existing("d"), g.content()
		g.remove(op.Path)
		g.kinds[op.Path] = 'f'
	}
	return op
}

func (g *generator) change(verb string) Op {
	op := Op{Verb: verb, Path: g.existing("dffls")}
	switch verb {
	case "write", "rewrite", "open", "truncate", "capability":
		op.Path = g.existing("f")
	}
	switch verb {
	case "write":
		op.Arg = g.one("w", "more")
	case "truncate":
		op.Arg = g.one("0", "1", "5000")
	case "chmod":
		op.Arg = g.one("600", "644", "755", "4711", "1777")
	case "chown":
		op.Arg = g.one("0:0", "1000:0", "0:1000")
	case "setxattr":
		op.Arg = g.one("user.k=v", "user.k=w", "trusted.t=1", "user.overlay.opaque=y", "trusted.overlay.opaque=y", "user.empty=")
		if strings.Contains(op.Arg, ".overlay.") && g.IntN(3) > 0 {
			op.Arg = "user.k=v"
		}
	case "removexattr":
		op.Arg = g.one("user.k", "trusted.t", "user.empty")
	case "acl":
		op.Arg = g.one("1000:7", "1001:4")
	case "capability":
		op.Arg = g.one("400", "1")
	case "utimes":
		op.Arg = g.one("1000000000", "1000000000.000000001", "1500000000.5")
	}
	return op
}

func (g *generator) remove(root string) {
	maps.DeleteFunc(g.kinds, func(p string, _ byte) bool { return p == root || strings.HasPrefix(p, root+"/") })
}

func (g *generator) move(from, to string) {
	moved := map[string]byte{}
	for p, kind := range g.kinds {
		if rest, ok := strings.CutPrefix(p, from); ok && (rest == "" || rest[0] == '/') {
			moved[to+rest] = kind
		}
	}
	g.remove(from)
	g.remove(to)
	maps.Copy(g.kinds, moved)
}
