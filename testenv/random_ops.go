package testenv

import (
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
)

// generator thinks up operations that are possible, by a model of the tree.
type generator struct {
	*rand.Rand
	*model
	names []string
	plan  []Op // what comes next, of several operations that belong together
}

const maxDepth = 4

func newGenerator(seed uint64, options string) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), model: newModel(options)}
	odd := []string{"a b", "x,y", "x:y", `\`, "\xff", ".wh.x", "#1", "é", "a\nb", "=", "Z"}
	g.Shuffle(len(odd), func(i, j int) { odd[i], odd[j] = odd[j], odd[i] })
	g.names = append([]string{"a", "b", "a-b"}, odd[:3]...) // a-b sorts before a/b bytewise
	return g
}

// The verbs, weighted by how often they are named. Those in capitals are
// several operations.
var (
	making   = strings.Fields("create create create mkdir mkdir mkdir symlink mknod link tmpfile")
	changing = strings.Fields(`create write write rewrite open truncate chmod chmod chown setxattr setxattr removexattr
		acl capability utimes unlink unlink rmdir rmtree rename rename rename exchange retarget todir tofile
		BACK REPLACE REPEAT REPEATDIR`)
)

// layer returns the operations of the next layer, at least n.
func (g *generator) layer(n int) []Op {
	var ops []Op
	full := false // there may be nowhere to make anything
	for len(ops) < n || len(g.plan) > 0 {
		if len(g.plan) == 0 {
			verbs := changing
			if building := g.model.layer == 0 && len(ops) < 20; !full && (building || g.IntN(4) == 0) {
				verbs = making
			}
			g.plan = g.think(g.one(verbs...)) // nothing, where nothing is to do that to
			full = len(g.plan) == 0
			if len(g.plan) > 0 && g.IntN(40) == 0 {
				g.plan = g.plan[:1]
				g.plan[0].Path = path.Join(g.one(g.names...), g.one(g.names...)) // possible or not
			}
			continue
		}
		op := g.plan[0]
		g.plan = g.plan[1:]
		g.apply(op)
		ops = append(ops, op)
	}
	g.next()
	return ops
}

func (g *generator) one(words ...string) string { return words[g.IntN(len(words))] }

// some returns a path of the tree that fits, or "".
func (g *generator) some(fits func(p string) bool) string {
	var paths []string
	for _, p := range slices.Sorted(maps.Keys(g.nodes)) {
		if fits(p) {
			paths = append(paths, p)
		}
	}
	if len(paths) == 0 {
		return ""
	}
	return g.one(paths...)
}

// existing returns a path at which one of the kinds is, or "".
func (g *generator) existing(kinds string) string {
	return g.some(func(p string) bool { return g.is(p, kinds) })
}

// node returns a path at which one of the kinds is, or "": often one of several
// hard links, since with an index a change through one is seen at all.
func (g *generator) node(kinds string) string {
	if g.IntN(3) == 0 {
		if p := g.some(func(p string) bool { return g.is(p, kinds) && g.links(p) > 1 }); p != "" {
			return p
		}
	}
	return g.existing(kinds)
}

// fresh returns a path at which something can be made, or "".
func (g *generator) fresh() string {
	for range 8 {
		dir := "."
		if p := g.existing("d"); p != "" && strings.Count(p, "/") < maxDepth-1 && g.IntN(5) > 0 {
			dir = p
		}
		if p := path.Join(dir, g.one(g.names...)); g.free(p) {
			return p
		}
	}
	return ""
}

// think returns the operations of a verb on paths that fit, or nothing.
func (g *generator) think(verb string) []Op {
	var ops []Op
	switch verb {
	case "create", "tmpfile", "symlink", "mkdir", "mknod":
		ops = g.newEntry(verb)
	case "link", "rename", "exchange":
		ops = g.pair(verb)
	case "BACK":
		ops = g.back()
	case "REPLACE":
		t, p := g.fresh(), g.existing("fls")
		ops = []Op{{"create", t, g.text()}, {"rename", t, p}}
	case "REPEAT":
		p := g.some(g.repeatable)
		ops = append([]Op{{"unlink", p, ""}}, g.again(p)...)
	case "REPEATDIR":
		ops = g.repeatDir()
	default:
		ops = g.edit(verb)
	}
	for _, op := range ops {
		if op.Path == "" || twoPathVerbs[op.Verb] && op.Arg == "" {
			return nil
		}
	}
	return ops
}

func (g *generator) text() string { return strings.Repeat(g.one("x", "y", "z\n"), g.IntN(4)*g.IntN(3)) }

// target returns the target of a symbolic link; nothing leads out of the tree.
func (g *generator) target() string {
	return g.one(append([]string{"dangling/target", "/nonexistent/overlaydiff"}, g.names...)...)
}

func (g *generator) newEntry(verb string) []Op {
	op := Op{verb, g.fresh(), ""}
	switch verb {
	case "mkdir":
		op.Arg = g.one("", "", "700")
	case "symlink":
		op.Arg = g.target()
	case "mknod":
		op.Arg = g.one("char:1:3", "char:0:1", "block:0:0", "block:259:77", "fifo", "socket")
		if g.IntN(12) == 0 {
			op.Arg = "char:0:0" // a whiteout in the bottom layer and refused elsewhere
		}
	default:
		op.Arg = g.text()
		if p := g.node("f"); verb == "create" && p != "" && g.IntN(5) == 0 {
			op.Path = p
		}
		if g.IntN(3) == 0 {
			return []Op{op, {"utimes", op.Path, "1000000000"}}
		}
	}
	return []Op{op}
}

func (g *generator) pair(verb string) []Op {
	kinds := g.one("dfls", "d")
	from := g.some(func(p string) bool { return g.is(p, kinds) && g.movable(p) })
	op := Op{verb, from, g.fresh()}
	switch {
	case verb == "link":
		op.Path = g.node(g.one("f", g.linkable))
	case verb == "exchange":
		op.Arg = g.some(func(p string) bool {
			return g.is(p, kinds) && g.movable(p) && p != from && !below(p, from) && !below(from, p)
		})
	case g.is(from, "d") && below(op.Arg, from):
		op.Arg = ""
	case g.is(from, "d") && g.IntN(3) == 0: // over another, which must be empty
		if p := g.some(func(p string) bool { return p != from && g.is(p, "d") && g.empty(p) && !below(p, from) }); p != "" {
			op.Arg = p
		}
	case g.is(from, "fls") && g.IntN(3) == 0:
		op.Arg = g.existing("fls")
	}
	return []Op{op}
}

// back returns changes that are none in the end.
func (g *generator) back() []Op {
	p := g.node("dfls")
	switch g.IntN(4) {
	case 0:
		return []Op{{"chown", p, "1:1"}, {"chown", p, "0:0"}}
	case 1:
		if !g.is(p, "l") {
			mode := "644"
			if g.is(p, "d") {
				mode = "755"
			}
			return []Op{{"chmod", p, "600"}, {"chmod", p, mode}}
		}
	case 2:
		return []Op{{"setxattr", p, "trusted.back=1"}, {"removexattr", p, "trusted.back"}}
	}
	t := g.fresh()
	if p == "" || !g.movable(p) || below(t, p) {
		return nil
	}
	return []Op{{"rename", p, t}, {"rename", t, p}}
}

// repeatable reports whether the file at p can be made again just as it is.
func (g *generator) repeatable(p string) bool { return g.is(p, "f") && g.nodes[p].content != "?" }

func (g *generator) again(p string) []Op {
	if p == "" {
		return nil
	}
	mtime := g.nodes[p].mtime
	if mtime == "" {
		mtime = "1000000000"
	}
	return []Op{{"create", p, g.nodes[p].content}, {"utimes", p, mtime}}
}

// repeatDir has a directory removed and made again with some of its files.
func (g *generator) repeatDir() []Op {
	dir := g.existing("d")
	ops := []Op{{"rmtree", dir, ""}, {"mkdir", dir, ""}}
	for _, p := range slices.Sorted(maps.Keys(g.nodes)) {
		if path.Dir(p) == dir && g.repeatable(p) && g.IntN(3) > 0 {
			ops = append(ops, g.again(p)...)
		}
	}
	return ops
}

// edit returns an operation on one path.
func (g *generator) edit(verb string) []Op {
	op := Op{Verb: verb}
	switch verb {
	case "write":
		op.Path, op.Arg = g.node("f"), g.one("w", "more")
	case "truncate":
		op.Path, op.Arg = g.node("f"), g.one("0", "1", "5000", "70000")
	case "rewrite":
		op.Path = g.some(func(p string) bool { return g.is(p, "f") && g.nodes[p].content != "" })
	case "open":
		op.Path = g.node("f")
	case "capability":
		op.Path, op.Arg = g.node("f"), g.one("400", "1")
	case "chmod":
		op.Path, op.Arg = g.node("dffs"), g.one("600", "644", "755", "4711", "1777")
	case "chown":
		op.Path, op.Arg = g.node("dfls"), g.one("0:0", "1000:0", "0:1000")
	case "utimes":
		op.Path, op.Arg = g.node("dfls"), g.one("1000000000", "1000000000.000000001", "1500000000.5")
	case "acl":
		op.Path, op.Arg = g.node("dfs"), g.one("1000:7", "1001:4")
		if g.is(op.Path, "d") && g.IntN(2) == 0 {
			op.Arg = "default:" + op.Arg
		}
	case "setxattr":
		op.Path, op.Arg = g.node("dfls"), g.attribute()
		if !g.is(op.Path, "df") {
			op.Arg = "trusted.t=1" // the only ones that they can have
		}
	case "removexattr":
		op.Path = g.some(func(p string) bool { return len(g.nodes[p].xattrs) > 0 })
		if op.Path != "" {
			op.Arg = g.one(slices.Sorted(maps.Keys(g.nodes[op.Path].xattrs))...)
		}
	case "unlink":
		op.Path = g.node("fls")
	case "rmdir":
		op.Path = g.some(func(p string) bool { return g.is(p, "d") && g.empty(p) })
	case "rmtree":
		op.Path = g.existing("d")
	case "retarget":
		op.Path, op.Arg = g.node("l"), g.target()
	case "todir":
		op.Path = g.existing("fls")
	case "tofile":
		op.Path, op.Arg = g.existing("d"), g.text()
	}
	return []Op{op}
}

// attribute returns one to set, now and then one that looks like overlay's own.
// Below all mounts it is one, and nothing escapes it: then it must not be one
// that makes the file unreadable.
func (g *generator) attribute() string {
	switch own := g.IntN(6) == 0; {
	case own && g.model.layer == 0:
		return g.one("user.overlay.opaque=y", "trusted.overlay.opaque=y")
	case own:
		return g.one("user.overlay.opaque=y", "trusted.overlay.opaque=y", "user.overlay.metacopy=", "trusted.overlay.redirect=a", "trusted.overlay.whiteout=")
	}
	return g.one("user.k=v", "user.k=w", "trusted.t=1", "user.empty=")
}
