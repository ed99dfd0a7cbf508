package difftest

import "github.com/overlaydiff/overlaydiff/testenv"

// rawCases are corners that layers of package rawgen have found.
var rawCases = []testcase{
	{
		name: "by hand: a redirect in the only lower layer", why: "in the lowest layer redirects are not read", options: "redirect_dir=nofollow",
		lower: []string{"dir d xattr.trusted.overlay.redirect=x; file d/f"}, ops: "unlink d/f", want: "D /d/f",
	},
	{
		name: "by hand: a malformed redirect in the only lower layer", why: "nor is it an error there",
		lower: []string{"dir d xattr.trusted.overlay.redirect=a/b; file d/f"}, ops: "unlink d/f", want: "D /d/f",
	},
	{
		name: "by hand: a directory in itself", why: "one lower directory can't be two that lie in each other (ESTALE)",
		options: "redirect_dir=on", fails: true,
		lower: []string{"file c/f"}, upper: "dir a xattr.trusted.overlay.redirect=c; dir a/b xattr.trusted.overlay.redirect=/c",
	},
	{
		name: "by hand: a verity header without a digest", why: "is as an empty value", options: "metacopy=on,verity=on", needs: []testenv.Need{testenv.Verity},
		lower: []string{"file f content=data", "dir d"}, upper: `file f size=4 mode=600 xattr.trusted.overlay.metacopy="\x00\x04\x00\x00"`, want: "C /f mode",
	},
	{
		name: "by hand: no digest where one is required", why: "the data is not shown to the metacopy file (EIO)",
		options: "metacopy=on,verity=require", needs: []testenv.Need{testenv.Verity}, fails: true,
		lower: []string{"file f content=data", "dir d"}, upper: `file f size=4 mode=600 xattr.trusted.overlay.metacopy="\x00\x04\x00\x00"`,
	},
	{
		name: "by hand: from the upper layer into a data-only one", why: "only a lower layer's metacopy file leads there (EIO)",
		options: "metacopy=on", needs: []testenv.Need{testenv.DataLayers}, fails: true,
		lower: []string{"dir d"}, data: []string{"file b content=data"}, upper: "file f size=4 xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=/b",
	},
	{
		name: "by hand: data outside the data-only layers", why: "nothing leads out of them (EXDEV)",
		options: "metacopy=on", needs: []testenv.Need{testenv.DataLayers}, fails: true,
		lower: []string{"dir d; file f size=4 xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=/../x"}, data: []string{"file b"}, upper: "file f content=data",
	},
	{
		name: "by hand: an origin that leads nowhere", why: "is none", options: "metacopy=on,index=on",
		lower: []string{"file f content=data"}, want: "C /f mode",
		upper: `file f size=4 mode=600 xattr.trusted.overlay.metacopy= xattr.trusted.overlay.origin="\x00\xfb\x1d\x00\x01uuiduuiduuiduuid\xff\xff\xff\x7f\x01\x00\x00\x00"`,
	},
}
