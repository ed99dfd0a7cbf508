package rawgen

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Names are those of all that is made: few, so that the layers collide.
var Names = []string{"a", "b", "c", "d"}

// Random returns the case of a seed for a mount with these options. dataLayers and
// idmap say whether there may be data-only layers, and layers with mapped ids.
func Random(seed uint64, options string, dataLayers, idmap bool) *Case {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 22)), c: &Case{Seed: seed, Options: options}, made: map[string][]string{}}
	g.prefix, g.other = "trusted.overlay.", "user.overlay."
	if strings.Contains(options, "userxattr") {
		g.prefix, g.other = g.other, g.prefix
	}
	g.layers(dataLayers, idmap)
	for range 14 + g.IntN(20) {
		g.entry(g.layer())
	}
	for range g.IntN(16) {
		g.mark(g.layer())
	}
	if g.IntN(2) == 0 {
		g.c.Through = g.through()
		g.late = true
		for range g.IntN(6) {
			g.lateOp()
		}
	}
	return g.c
}

type generator struct {
	*rand.Rand
	c             *Case
	prefix, other string              // of the marks that the mount heeds, and of the others
	made          map[string][]string // by layer: paths, some of which may be gone
	late          bool
}

func (g *generator) one(list ...string) string { return list[g.IntN(len(list))] }

func (g *generator) layers(dataLayers, idmap bool) {
	add := func(name string, data bool) {
		l := Layer{Name: name, Data: data}
		if g.IntN(6) == 0 {
			l.FS = 1 + g.IntN(3)
		}
		switch {
		case data:
		case g.IntN(14) == 0:
			l.Kind = Overlay
		case idmap && g.IntN(14) == 0:
			l.Kind = IDMap
		}
		g.c.Layers = append(g.c.Layers, l)
	}
	for i := range []int{1, 1, 2, 2, 3, 4}[g.IntN(6)] {
		add(fmt.Sprintf("L%d", i+1), false)
	}
	if dataLayers && g.IntN(3) == 0 {
		for i := range 1 + g.IntN(2) {
			add(fmt.Sprintf("D%d", i+1), true)
		}
	}
}

// layer returns the name of some layer, often the upper one.
func (g *generator) layer() string {
	if i := g.IntN(len(g.c.Layers) + 2); i < len(g.c.Layers) {
		l := g.c.Layers[i]
		if l.Kind == Overlay && g.IntN(2) == 0 {
			return l.Name + "b"
		}
		return l.Name
	}
	return "U"
}

func (g *generator) op(verb, at string, args ...string) {
	if verb == "xattr" && strings.HasSuffix(args[0], "redirect") && !g.offline(at) {
		return // two names of one directory in a layer that is an overlay: its cache decides
	}
	list := &g.c.Early
	if g.late {
		list = &g.c.Late
	}
	*list = append(*list, Op{verb, at, args})
}

// path returns a path to make something at: often in a directory that some layer has.
func (g *generator) path() string {
	p := g.one(Names...)
	for range g.IntN(3) {
		p += "/" + g.one(Names...)
	}
	return p
}

// any returns a place of something that was made, perhaps.
func (g *generator) any(layer string) string {
	if made := g.made[layer]; len(made) > 0 && g.IntN(8) > 0 {
		return layer + "/" + made[g.IntN(len(made))]
	}
	return layer + "/" + g.path()
}

// entry makes something in a layer.
func (g *generator) entry(layer string) {
	p := g.path()
	at := layer + "/" + p
	if i := strings.LastIndexByte(p, '/'); i > 0 {
		g.op("dir", layer+"/"+p[:i])
		g.made[layer] = append(g.made[layer], p[:i])
	}
	g.made[layer] = append(g.made[layer], p)
	switch g.IntN(20) {
	case 0, 1, 2, 3, 4, 5, 6:
		g.op("dir", at)
	case 7, 8, 9, 10, 11:
		g.op("file", at, g.one("", "x", "y", "xy"))
	case 12, 13:
		g.op("mknod", at, "0", "0")
	case 14:
		g.op("file", at, g.one("", "", "x"))
		g.op("xattr", at, g.name("whiteout"), g.one("0x", "0x79"))
		if i := strings.LastIndexByte(p, '/'); i > 0 {
			g.op("xattr", layer+"/"+p[:i], g.name("opaque"), "0x78")
		}
	case 15:
		g.op("symlink", at, g.one(Names...))
	case 16:
		switch g.IntN(3) {
		case 0:
			g.op("fifo", at)
		case 1:
			g.op("mknod", at, "1", "3")
		default:
			g.op("block", at, "0", "0")
		}
	case 17, 18:
		g.op("link", at, g.any(g.linkLayer(layer)))
	default:
		g.metacopy(layer, at)
	}
	if g.IntN(10) == 0 {
		g.op("chmod", at, g.one("600", "755", "4711"))
	}
	if g.IntN(12) == 0 {
		g.op("xattr", at, g.one("user.k", "trusted.k"), "0x76")
	}
}

// linkLayer is a layer that a link into layer may come from: mostly itself. An inode in
// two layers of which one has mapped ids is left out: in a mount without an upper
// layer, which the naive engine's views are, it has the owner of the name that was
// looked up first.
func (g *generator) linkLayer(layer string) string {
	from := layer
	if g.IntN(4) == 0 {
		from = g.layer()
	}
	for _, l := range g.c.Layers {
		if l.Kind == IDMap && (l.Name == layer) != (l.Name == from) {
			return layer
		}
	}
	return from
}

// name returns a mark's attribute, now and then that of the other namespace, or escaped.
func (g *generator) name(mark string) string {
	switch g.IntN(16) {
	case 0:
		return g.other + mark
	case 1:
		return g.prefix + "overlay." + mark
	case 2:
		return g.prefix + strings.Repeat("overlay.", 1+g.IntN(3)) + mark
	}
	return g.prefix + mark
}

// metacopy makes a metacopy file that may well have its data somewhere.
func (g *generator) metacopy(layer, at string) {
	g.op("file", at, g.one("xy", "x", ""))
	g.op("xattr", at, g.name("metacopy"), g.header())
	if g.IntN(2) == 0 {
		g.op("xattr", at, g.name("redirect"), value(g.redirect()))
	}
}

func (g *generator) header() string {
	digest := strings.Repeat("ab", 32)
	return g.one("0x", "0x", "0x", "0x", "0x00040000", "0x00240001"+digest, "0x00", "0x000400", "0x00040100", "0x01040000", "0x00050000", "0x00040001", "0x00240101"+digest, "0x00240009"+digest)
}

func value(s string) string { return "0x" + hex.EncodeToString([]byte(s)) }

// redirect returns where a redirect leads.
func (g *generator) redirect() string {
	switch g.IntN(12) {
	case 0, 1, 2, 3:
		return g.one(Names...)
	case 4, 5, 6, 7, 8:
		return "/" + g.path()
	case 9:
		return "/" + g.one(Names...) + "\x00" + g.one(Names...)
	case 10:
		return g.one("..", ".", "/..", "/a/..", "/./a", "../a", "/a/../b")
	}
	return g.one("", "/", "//a", "a/b", "/a/", "a/", "\x00", "/"+strings.Repeat("n", 300), strings.Repeat("n", 300), strings.Repeat("/a", 300))
}

// mark sets a mark on something.
func (g *generator) mark(layer string) {
	at := g.any(layer)
	if g.IntN(20) == 0 {
		at = layer + "/." // the layer's root
	}
	switch g.IntN(16) {
	case 0, 1, 2:
		g.op("xattr", at, g.name("opaque"), g.one("0x79", "0x79", "0x79", "0x78", "0x78", "0x", "0x6e", "0x7979", "0x59", "0x7900"))
	case 3, 4, 5, 6, 7:
		g.op("xattr", at, g.name("redirect"), value(g.redirect()))
	case 8:
		g.op("xattr", at, g.name("metacopy"), g.header())
	case 9:
		g.op("xattr", at, g.name("whiteout"), g.one("0x", "0x79"))
	case 10:
		g.op("xattr", at, g.name("origin"), g.one("0x", "0x00", "0x00fb", "0x00fb1d0001"+strings.Repeat("00", 24), "0x01fb1d0001"+strings.Repeat("11", 24)))
	case 11, 12:
		g.op("handle", at, g.name("origin"), g.any(g.layer()))
	case 13:
		g.op("upper", at, g.name(g.one("upper", "origin")), g.any(g.layer()))
	case 14:
		g.op("xattr", at, g.name("nlink"), g.nlink())
	default:
		g.op("xattr", at, g.name(g.one("impure", "protattr", "uuid", "whiteouts", "unknown")), g.one("0x", "0x79", "0x69", "0x00112233445566778899aabbccddeeff"))
	}
}

func (g *generator) nlink() string {
	return value(g.one("U+0", "U+1", "U-1", "U-5", "L+0", "L-1", "L+3", "U+100", "", "U", "x"))
}

// through returns operations through the mount.
func (g *generator) through() (ops []Op) {
	at := func() string {
		layer := g.layer()
		return "m" + strings.TrimPrefix(g.any(layer), layer)
	}
	for range 1 + g.IntN(8) {
		switch g.IntN(9) {
		case 0, 1, 2:
			ops = append(ops, Op{"write", at(), []string{g.one("w", "ww")}})
		case 3:
			ops = append(ops, Op{"remove", at(), nil})
		case 4:
			ops = append(ops, Op{"rename", at(), []string{at()}})
		case 5:
			ops = append(ops, Op{"link", at(), []string{at()}})
		case 6:
			ops = append(ops, Op{"chmod", at(), []string{g.one("600", "755")}})
		case 7:
			ops = append(ops, Op{"mkdir", at(), nil})
		default:
			ops = append(ops, Op{"chown", at(), []string{"7"}})
		}
	}
	return ops
}

// offline reports whether the layer of a place may change after the first mount: what
// changes below an overlay that stays mounted is not defined.
func (g *generator) offline(at string) bool {
	layer, _, _ := strings.Cut(at, "/")
	for _, l := range g.c.Layers {
		if l.Kind == Overlay && strings.TrimSuffix(layer, "b") == l.Name {
			return false
		}
	}
	return true
}

// lateOp changes the layers after they were mounted: mostly the index, if there is one.
func (g *generator) lateOp() {
	if !strings.Contains(g.c.Options, "index=on") && !strings.Contains(g.c.Options, "nfs_export=on") || g.IntN(3) == 0 {
		switch g.IntN(4) {
		case 0:
			g.entry("U")
		case 1:
			if at := g.any(g.layer()); g.offline(at) {
				g.op("remove", at)
			}
		default:
			g.mark("U")
		}
		return
	}
	origin := g.any(g.c.Layers[g.IntN(len(g.c.Layers))].Name)
	switch g.IntN(8) {
	case 0, 1:
		g.op("ixwhiteout", "", origin)
	case 2:
		g.op("ixfifo", "", origin, g.prefix+"origin")
	case 3:
		g.op("ixfile", "", origin, g.prefix+"origin")
	case 4:
		g.op("ixdir", "", origin, g.any("U"), g.prefix+"upper")
	case 5:
		g.op("ixlink", "", origin, g.any("U"), g.prefix+"origin")
	case 6:
		g.op("ixremove", "", origin)
	default:
		g.op("ixnlink", "", origin, g.prefix+"nlink", g.nlink())
	}
}
