package rawgen

import (
	"fmt"
	"strings"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Case is a layer stack. The upper layer's directory is U, the work directory W.
type Case struct {
	Seed    uint64
	Options string // of the mount
	Layers  []Layer
	Early   []Op // done to the layers before anything is mounted
	Through []Op // done through a first mount
	Late    []Op // done to the layers after it
}

// Layer is a lower layer, topmost first; data-only ones come last.
type Layer struct {
	Name string // of its directory: L1, L2, …, D1, …
	FS   int    // which file system it is on: 0 is that of the upper layer
	Kind Kind
	Data bool
}

// Kind says what a layer's directory is.
type Kind string

// The kinds.
const (
	Plain   Kind = ""
	Overlay Kind = "overlay" // the mount of an overlay of the directory over another, NAME + "b"
	IDMap   Kind = "idmap"   // a mount of the directory with ids mapped
)

// Op is one operation. Places are LAYER/PATH, or m/PATH through the mount.
type Op struct {
	Verb string
	At   string
	Args []string
}

// shells have the operations as shell commands: @ is the place, $1 and $2 are the
// arguments, quoted.
var shells = map[string]string{
	"dir":     "mkdir -p @",
	"file":    "printf %s $1 >@; touch -d @1000000000 @",
	"mknod":   "mknod @ c $1 $2",
	"block":   "mknod @ b $1 $2",
	"fifo":    "mkfifo @",
	"symlink": "ln -s $1 @; touch -h -d @1000000000 @",
	"link":    "ln $1 @",
	"chmod":   "chmod $1 @",
	"chown":   "chown -h $1:$1 @",
	"xattr":   "setfattr -h -n $1 -v $2 @",
	"handle":  "setfattr -h -n $1 -v 0x$(fh $2) @",       // the origin attribute, of another inode
	"upper":   "setfattr -h -n $1 -v 0x$(fh $2 upper) @", // the upper attribute, of another inode
	"remove":  "rm -rf @",
	// Entries of the index for the inode $1, which At does not name.
	"ixwhiteout": "mkdir -p W/index; rm -rf W/index/$(fh $1); mknod W/index/$(fh $1) c 0 0",
	"ixfifo":     "mkdir -p W/index; rm -rf W/index/$(fh $1); mkfifo W/index/$(fh $1); setfattr -h -n $2 -v 0x$(fh $1) W/index/$(fh $1)",
	"ixfile":     "mkdir -p W/index; rm -rf W/index/$(fh $1); echo index >W/index/$(fh $1); setfattr -h -n $2 -v 0x$(fh $1) W/index/$(fh $1)",
	"ixdir":      "mkdir -p W/index; rm -rf W/index/$(fh $1); mkdir W/index/$(fh $1); setfattr -h -n $3 -v 0x$(fh $2 upper) W/index/$(fh $1)",
	"ixlink":     "mkdir -p W/index; rm -rf W/index/$(fh $1); ln $2 W/index/$(fh $1); setfattr -h -n $3 -v 0x$(fh $1) $2",
	"ixremove":   "rm -rf W/index/$(fh $1)",
	"ixnlink":    "setfattr -h -n $2 -v $3 W/index/$(fh $1)",
	// Through the mount.
	"write":  "echo $1 >>@",
	"rename": "mv -T $1 @",
	"mkdir":  "mkdir @",
	"create": "echo $1 >@",
}

// preamble defines fh, which prints a handle as overlayfs stores it: struct ovl_fb with
// the file system's UUID (FS_IOC_GETFSUUID) and what name_to_handle_at says. The numbers of both
// calls are this architecture's; the flag 1 says big-endian.
const preamble = `#!/bin/bash
# Run as root in an empty directory.
fh() { perl -e '
my ($path, $upper) = @ARGV;
my $h = pack("LLa128", 128, 0, ""); my $id = pack("L", 0);
syscall(%d, -100, $path, $h, $id, 0) == 0 or exit 1; # name_to_handle_at
my ($n, $type) = unpack("LL", $h); my $fid = substr($h, 8, $n);
my $dir = $path; $dir =~ s|/[^/]*$|| unless -d $dir; -d $dir or exit 1;
my $uuid = pack("a17", ""); open(my $f, "<", $dir); ioctl($f, %#x, $uuid);
my $flags = ($upper ? 4 : 0) | (pack("S", 1) eq pack("n", 1));
print unpack("H*", pack("CCCCC", 0, 0xfb, 21 + $n, $flags, $type) . substr($uuid, 1, 16) . $fid);
' "$@"; }
`

// String returns the case as a shell script that leaves the overlay mounted at m.
func (c *Case) String() string {
	var b strings.Builder
	nameToHandleAt, getUUID := sys.ScriptNumbers()
	fmt.Fprintf(&b, preamble, nameToHandleAt, getUUID)
	fmt.Fprintf(&b, "# seed %d\nmkdir U W m\n", c.Seed)
	for _, l := range c.Layers {
		fmt.Fprintf(&b, "mkdir %s", l.Name)
		if l.FS > 0 {
			fmt.Fprintf(&b, "; mount -t tmpfs fs%d %s # another file system", l.FS, l.Name)
		}
		switch l.Kind {
		case Overlay:
			fmt.Fprintf(&b, "; mkdir %[1]sb %[1]sm", l.Name)
		case IDMap:
			fmt.Fprintf(&b, " # its ids are mapped: mount --bind -o X-mount.idmap=b:0:100000:65536 %[1]s %[1]s", l.Name)
		}
		b.WriteString("\n")
	}
	script(&b, c.Early)
	mount := "mount -t overlay o -o " + quote(c.MountOptions(func(name string) string { return name })) + " m\n"
	for _, l := range c.Layers {
		if l.Kind == Overlay {
			fmt.Fprintf(&b, "mount -t overlay o -o lowerdir=%[1]s:%[1]sb %[1]sm\n", l.Name)
		}
	}
	if len(c.Through) > 0 {
		b.WriteString(mount)
		script(&b, c.Through)
		b.WriteString("umount m\n")
	}
	script(&b, c.Late)
	b.WriteString(mount)
	return b.String()
}

func script(b *strings.Builder, ops []Op) {
	for _, op := range ops {
		b.WriteString(op.String() + "\n")
	}
}

// String returns the operation as a shell command.
func (o Op) String() string {
	line := shells[o.Verb]
	pairs := []string{"@", o.At, "touch -d @", "touch -d @", "touch -h -d @", "touch -h -d @"}
	for i, arg := range o.Args {
		pairs = append(pairs, fmt.Sprintf("$%d", i+1), quote(arg))
	}
	return strings.NewReplacer(pairs...).Replace(line)
}

func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-=,:+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// MountOptions returns the options of the mount; path has the directories.
func (c *Case) MountOptions(path func(name string) string) string {
	s := "lowerdir=" + c.Lowerdir(path) + ",upperdir=" + path("U") + ",workdir=" + path("W")
	if c.Options != "" {
		s += "," + c.Options
	}
	return s
}

// Lowerdir returns the lower layers as the option of that name has them.
func (c *Case) Lowerdir(path func(name string) string) string {
	var lower, data string
	for _, l := range c.Layers {
		name := l.Name
		if l.Kind == Overlay {
			name += "m"
		}
		if l.Data {
			data += "::" + path(name)
		} else {
			lower += ":" + path(name)
		}
	}
	return lower[1:] + data
}

// lists are the parts of a case that can be left out one by one.
func (c *Case) lists() []*[]Op { return []*[]Op{&c.Early, &c.Through, &c.Late} }

// Ops returns how many operations there are.
func (c *Case) Ops() (n int) {
	for _, list := range c.lists() {
		n += len(*list)
	}
	return n
}

// Without returns the case without n operations, and without a layer: from -1 on,
// negative numbers name layers.
func (c *Case) Without(from, n int) *Case {
	s := *c
	if from < 0 {
		if i := -1 - from; i < len(c.Layers) && (c.Layers[i].Data || c.regular() > 1) {
			s.Layers = append(append([]Layer{}, c.Layers[:i]...), c.Layers[i+1:]...)
			return &s
		}
		return nil
	}
	for _, list := range s.lists() {
		ops := *list
		lo, hi := min(max(from, 0), len(ops)), min(max(from+n, 0), len(ops))
		*list = append(append([]Op{}, ops[:lo]...), ops[hi:]...)
		from -= len(ops)
	}
	return &s
}

func (c *Case) regular() (n int) {
	for _, l := range c.Layers {
		if !l.Data {
			n++
		}
	}
	return n
}
