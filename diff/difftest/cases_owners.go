package difftest

// one is the map of a container whose root is the host's 100000.
const one = "0:100000:65536"

var ownerCases = []testcase{
	{
		name: "id-mapped layer", why: "a copy-up stores the owner that the mount shows", idmaps: []string{one},
		lower: []string{"file same content=x; file mode content=x uid=5 gid=6; file own content=x; dir d uid=7; file d/f uid=7; symlink l -> x; fifo p; char c 1:3; file gone"},
		ops: "open same; chmod mode 600; chown own 0:0; chown d 0:0; chown d 100007:100000; chown l 1:1; chown l 100000:100000; " +
			"chown p 0:100000; chmod c 600; unlink gone; create new x; chmod d/f 600",
		want: "C /c mode; C /d/f mode; D /gone; C /mode mode; A /new; C /own uid,gid; C /p uid",
	},
	{
		name: "id map of several ranges", why: "root is one user of the host, all others are elsewhere", idmaps: []string{"0:1000:1,1:100000:999,1000:0:1,1001:200000:1000"},
		lower: []string{"file root; file user uid=1 gid=999; file swapped uid=1000 gid=1000; file other uid=1500 gid=0"},
		ops:   "open root; open user; open swapped; open other; chmod other 600; chown swapped 1000:1000",
		want:  "C /other mode; C /swapped uid,gid",
	},
	{
		name: "two id maps", why: "what is merged has the owners of the upper one", idmaps: []string{one, "0:200000:65536"},
		lower: []string{"dir d uid=1; file d/a; whiteout w; dir e", "dir d uid=2; file d/b; file w; file e/f uid=3"},
		ops:   "chown d/a 200000:200000; open d/b; chmod e/f 600; chmod d 700; create w x",
		want:  "C /d mode; C /d/a uid,gid; C /e/f mode; A /w",
	},
	{
		name: "id-mapped between others", why: "each layer has its own way to show owners", idmaps: []string{"", one, ""},
		lower: []string{"file a uid=100000 gid=100000; file top", "file a; file mid", "file bottom uid=5"},
		ops:   "unlink a; open top; open mid; chown mid 0:100000; open bottom; chown bottom 0:0",
		want:  "D /a; C /bottom uid; C /mid uid",
	},
	{
		name: "owners without a mapping", why: "the mount shows them as nobody's, and lets nobody change them (EOVERFLOW)", idmaps: []string{"0:100000:10"},
		lower: []string{"file nobody content=x uid=50 gid=60; file half content=x uid=5 gid=60; file other content=x uid=50 gid=60; file gone uid=50"},
		upper: "file nobody content=x uid=65534 gid=65534; file half content=x uid=100005 gid=65534; file other content=x uid=50 gid=60; whiteout gone",
		want:  "D /gone; C /other uid,gid",
	},
	{
		name: "renamed id-mapped directory", why: "what is below stays in the lower layer, with its owners", idmaps: []string{one}, options: "redirect_dir=on",
		lower: []string{"dir d uid=1; file d/f uid=2; file d/g"}, ops: "rename d e; chmod e/g 600", want: "D /d; A /e; A /e/f; A /e/g",
	},
	{
		name: "metadata copied up from an id-mapped layer", why: "the owner is in the upper layer, the content below", idmaps: []string{one}, options: "metacopy=on,redirect_dir=on",
		lower: []string{"file f content=x uid=1; file g content=x"}, ops: "chmod f 600; chown g 0:0; chown g 100000:100000", want: "C /f mode",
	},
	{
		name: "index over an id-mapped layer", why: "the copy in the index has the owners of the host", idmaps: []string{one}, options: "index=on", mayRefuse: true,
		lower: []string{"file a content=x uid=1; link b a; file c; link d c"}, ops: "chmod a 600; open c", want: "C /a mode; C /b mode",
	},
	{
		name: "attributes with ids", why: "capabilities name the user that is root, lists name users and groups", idmaps: []string{one},
		lower: []string{"file cap content=x; file cap2 content=x; file acl content=x mode=674"},
		ops:   "capability cap 400; acl acl 101000:7; open cap2",
		want:  "C /acl xattrs; C /cap xattrs",
	},
}
