//go:build linux

package mountutil

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
)

func TestParseOptions(t *testing.T) {
	tests := []struct {
		in   string
		want Options
		why  string
	}{
		{in: "", want: Options{}},
		{in: "lowerdir=/a:/b,upperdir=/u,workdir=/w", want: Options{Lower: []string{"/a", "/b"}, Upper: "/u", Work: "/w"}},
		{in: `lowerdir=a\:b:c\,d:e\\f::d1::d\:2`, want: Options{Lower: []string{"a:b", "c,d", `e\f`}, Data: []string{"d1", "d:2"}}},
		{in: `upperdir=/u:x\:y\,z\\,workdir=w=#`, want: Options{Upper: `/u:x:y,z\`, Work: "w=#"}, why: "':' needs no backslash in upperdir"},
		{in: `lowerdir=\a`, want: Options{Lower: []string{"a"}}, why: "a backslash is dropped before anything"},
		{in: `lowerdir+=a:b,lowerdir+=c\,d,datadir+=e\f`, want: Options{Lower: []string{"a:b", `c\,d`}, Data: []string{`e\f`}}, why: "literal"},
		{in: ",,ro,=x,lowerdir=a,", want: Options{Lower: []string{"a"}, Generic: []string{"ro"}}},
		{in: "lowerdir=a,volatile", want: Options{Lower: []string{"a"}, Fsync: "volatile"}},
		{in: "fsync=volatile,nooverride_creds,uuid=null", want: Options{Fsync: "volatile", OverrideCreds: "off", UUID: "null"}},
		{
			in:   `context="u:r:t:s0:c1,c2",lowerdir=a,metacopy=on,redirect_dir=follow,index=off,nfs_export=on,xino=auto,verity=require,userxattr,default_permissions`,
			want: Options{Lower: []string{"a"}, Generic: []string{"context=u:r:t:s0:c1,c2"}, Metacopy: "on", RedirectDir: "follow", Index: "off", NFSExport: "on", XINO: "auto", Verity: "require", UserXattr: true, DefaultPermissions: true},
		},
		{in: "x-systemd.automount=5,nosuid,noatime,foo=1,bar", want: Options{Generic: []string{"x-systemd.automount", "nosuid", "noatime"}, Unknown: []string{"foo", "bar"}}},
	}
	for _, tt := range tests {
		got, err := ParseOptions(tt.in)
		if err != nil {
			t.Errorf("ParseOptions(%q): %v %s", tt.in, err, tt.why)
			continue
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("ParseOptions(%q) %s (-want +got):\n%s", tt.in, tt.why, d)
		}
	}
}

func TestParseOptions_Malformed(t *testing.T) {
	for in, option := range map[string]string{
		"lowerdir=":                             "lowerdir",
		"lowerdir=:a":                           "lowerdir",
		"lowerdir=a:":                           "lowerdir",
		"lowerdir=a:::b":                        "lowerdir",
		"lowerdir=a::b:c":                       "lowerdir",
		"lowerdir=::a":                          "lowerdir",
		`lowerdir=a\`:                           "lowerdir",
		"lowerdir=a,lowerdir=b":                 "lowerdir",
		"lowerdir=a,lowerdir+=b":                "lowerdir+",
		"lowerdir+=a,lowerdir=b":                "lowerdir",
		"lowerdir+=a,datadir+=b,lowerdir+=c":    "lowerdir+",
		"datadir+=b":                            "datadir+",
		"upperdir=":                             "upperdir",
		"upperdir":                              "upperdir",
		`workdir=a\`:                            "workdir",
		"upperdir=a,upperdir=a":                 "upperdir",
		"index=1":                               "index",
		"index":                                 "index",
		"redirect_dir=always":                   "redirect_dir",
		"userxattr=on":                          "userxattr",
		"volatile,fsync=auto":                   "fsync",
		"override_creds,nooverride_creds":       "nooverride_creds",
		"ro=1":                                  "ro",
		`context="a`:                            "context",
		"lowerdir=a\x00b":                       "lowerdir=a",
		"lowerdir=a,context=b,context=\"c,d\"":  "context",
		"lowerdir=a,metacopy=on,metacopy=on,ro": "metacopy",
	} {
		_, err := ParseOptions(in)
		var oe *OptionError
		if !errors.As(err, &oe) || oe.Option != option {
			t.Errorf("ParseOptions(%q) = %v, want an OptionError about %s", in, err, option)
		}
	}
}

func TestParseMountinfo(t *testing.T) {
	tests := []struct {
		in   string
		want Options
		why  string
	}{
		{in: `rw,lowerdir=a\134:b:c\134\054d,upperdir=/u\040\011\012x,workdir=w`, want: Options{Generic: []string{"rw"}, Lower: []string{"a:b", "c,d"}, Upper: "/u \t\nx", Work: "w"}},
		{in: `ro,lowerdir+=a:b\134c,datadir+=d\054`, want: Options{Generic: []string{"ro"}, Lower: []string{`a:b\c`}, Data: []string{"d,"}}, why: "one option a layer is literal"},
		{in: `lowerdir=/a\072b:/c\134d`, want: Options{Lower: []string{"/a:b", `/c\d`}}, why: "as Linux 6.5 shows it"},
		{in: `lowerdir=l,upperdir=u\134`, want: Options{Lower: []string{"l"}, Upper: `u\`}, why: "mounted by descriptor: no escapes"},
		{in: `rw,context="a:b:c0,c1",lowerdir=l,newoption=5`, want: Options{Generic: []string{"rw", "context=a:b:c0,c1"}, Lower: []string{"l"}, Unknown: []string{"newoption"}}},
	}
	for _, tt := range tests {
		got, err := ParseMountinfo(tt.in)
		if err != nil {
			t.Errorf("ParseMountinfo(%q): %v", tt.in, err)
			continue
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("ParseMountinfo(%q) %s (-want +got):\n%s", tt.in, tt.why, d)
		}
	}
}

// nasty are names with every byte that some layer of escapes treats specially.
var nasty = []string{"plain", `a:b`, `c,d`, `e\f`, `\\`, `g\:h`, ` i j `, "k\nl", "m\tn", "o#p", "q=r", `s\`, ":", ",", `"t,u"`, `\040`, `\134`, `\072`, "ü\xff\x01", "::", `,lowerdir=x`}

func TestString_RoundTrip(t *testing.T) {
	o := Options{Lower: nasty, Upper: strings.Join(nasty, ""), Work: nasty[3], Index: "on", UserXattr: true, Fsync: "volatile", Generic: []string{"ro", "context=a,b"}}
	for _, data := range [][]string{nil, nasty} {
		o.Data = data
		got, err := ParseOptions(o.String())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(o, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add(Options{Lower: nasty, Data: nasty, Upper: "u", Work: `\`}.String())
	f.Add(`context="a,b",ro,x-a\,b,lowerdir+=a\,b,datadir+=c,upperdir=\,:,volatile,foo`)
	f.Fuzz(func(t *testing.T, s string) { fuzz(t, s, ParseOptions) })
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add(`rw,lowerdir=a\134:b:c\134\054d\072::d,upperdir=/u\040\011\012x\134,workdir=w\3777,index=on`)
	f.Add(`rw,context="a:b\042,c1",lowerdir+=l,datadir+=x\054,newoption=5,x-\054`)
	f.Add(`rw,x-\0755554`) // the name has a '='
	f.Fuzz(func(t *testing.T, s string) { fuzz(t, s, ParseMountinfo) })
}

func fuzz(t *testing.T, s string, parse func(string) (Options, error)) {
	o, err := parse(s)
	if err != nil {
		if strings.ContainsAny(err.Error(), "\n\x00") {
			t.Fatalf("%q: more than a line: %q", s, err)
		}
		return
	}
	o.Stack(Defaults{})
	o.Unknown = nil
	again, err := ParseOptions(o.String())
	if err != nil {
		t.Fatalf("%q: %q: %v", s, o.String(), err)
	}
	if d := cmp.Diff(o, again); d != "" {
		t.Fatalf("%q: %q (-want +got):\n%s", s, o.String(), d)
	}
}

func TestStack_Features(t *testing.T) {
	modern := Defaults{RedirectDir: Off, RedirectAlwaysFollow: On, Index: Off, NFSExport: Off, XinoAuto: Off, Metacopy: Off}
	with := func(change func(*Defaults)) Defaults {
		d := modern
		change(&d)
		return d
	}
	never := with(func(d *Defaults) { d.RedirectAlwaysFollow = Off })
	const upper = "lowerdir=l,upperdir=u,workdir=w,"
	tests := []struct {
		options  string
		defaults Defaults
		want     diff.Features
		why      string
	}{
		{upper, modern, diff.Features{RedirectFollow: true}, "redirect_always_follow"},
		{upper, never, diff.Features{}, ""},
		{upper + "redirect_dir=off", modern, diff.Features{RedirectFollow: true}, "off is follow"},
		{upper + "redirect_dir=off", never, diff.Features{}, ""},
		{upper + "redirect_dir=nofollow", modern, diff.Features{}, ""},
		{upper + "redirect_dir=follow", never, diff.Features{RedirectFollow: true}, ""},
		{upper + "redirect_dir=on", never, diff.Features{RedirectFollow: true}, ""},
		{upper + "redirect_dir=off", Defaults{RedirectDir: Off}, diff.Features{RedirectFollow: true}, "4.10 to 4.14"},
		{upper, with(func(d *Defaults) { d.RedirectDir = On }), diff.Features{RedirectFollow: true}, ""},
		{upper + "metacopy=on", never, diff.Features{RedirectFollow: true, Metacopy: true}, "metacopy implies redirect_dir=on"},
		{upper, with(func(d *Defaults) { d.Metacopy = On }), diff.Features{RedirectFollow: true, Metacopy: true}, ""},
		{upper + "redirect_dir=follow", with(func(d *Defaults) { d.Metacopy = On }), diff.Features{RedirectFollow: true}, "the default yields"},
		{"lowerdir=l:m,redirect_dir=follow,metacopy=on", never, diff.Features{RedirectFollow: true, Metacopy: true}, "without upper, follow is on"},
		{upper + "index=on", modern, diff.Features{RedirectFollow: true, Index: true}, ""},
		{"lowerdir=l:m,index=on", modern, diff.Features{RedirectFollow: true}, "no index without upper"},
		{upper + "nfs_export=on", modern, diff.Features{RedirectFollow: true, Index: true, NFSExport: true}, "nfs_export implies index"},
		{upper + "index=off", with(func(d *Defaults) { d.NFSExport = On }), diff.Features{RedirectFollow: true}, ""},
		{upper + "metacopy=on", with(func(d *Defaults) { d.NFSExport = On }), diff.Features{RedirectFollow: true, Metacopy: true, Index: true}, ""},
		{"lowerdir=l:m,nfs_export=on", modern, diff.Features{RedirectFollow: true}, "needs nofollow without upper"},
		{"lowerdir=l:m,nfs_export=on,redirect_dir=nofollow", modern, diff.Features{NFSExport: true}, ""},
		{upper + "userxattr", with(func(d *Defaults) { d.RedirectDir, d.Metacopy, d.Index = On, On, On }), diff.Features{UserXattr: true, Index: true}, ""},
	}
	for _, tt := range tests {
		o, err := ParseOptions(tt.options)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, o.Stack(tt.defaults).Features); d != "" {
			t.Errorf("%s with %+v %s (-want +got):\n%s", tt.options, tt.defaults, tt.why, d)
		}
	}
}

func TestStackOfOptions(t *testing.T) {
	s, err := StackOfOptions(`lowerdir=/a\:b:c,upperdir=/u,workdir=/w,metacopy=on`)
	want := diff.Stack{Lower: []string{"/a:b", "c"}, Upper: "/u", Work: "/w", Features: diff.Features{RedirectFollow: true, Metacopy: true}}
	if d := cmp.Diff(want, s); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	for in, option := range map[string]string{
		"upperdir=u":                                                "lowerdir",
		"lowerdir=a,frobnicate":                                     "frobnicate",
		"lowerdir=a,userxattr,redirect_dir=on":                      "redirect_dir",
		"lowerdir=a,userxattr,metacopy=on":                          "metacopy",
		"lowerdir=a,upperdir=u,metacopy=on,redirect_dir=nofollow":   "metacopy",
		"lowerdir=a,upperdir=u,workdir=w,nfs_export=on,index=off":   "nfs_export",
		"lowerdir=a,upperdir=u,workdir=w,nfs_export=on,metacopy=on": "metacopy",
	} {
		_, err := StackOfOptions(in)
		var oe *OptionError
		if !errors.As(err, &oe) || oe.Option != option {
			t.Errorf("StackOfOptions(%q) = %v, want an OptionError about %s", in, err, option)
		}
	}
}
