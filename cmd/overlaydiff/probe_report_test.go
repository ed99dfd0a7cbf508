package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestProbe_FileSystems has what is known of the file systems themselves.
func TestProbe_FileSystems(t *testing.T) {
	always := []string{"d_type", "trusted_xattrs", "whiteout_device", "whiteout_xattr", "rename_exchange", "file_handles"}
	shares := map[testenv.FS]bool{testenv.XFS: true, testenv.Btrfs: true}
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		r, err := reportOf(probeOnce(t, t.Name(), testenv.Scratch(t, fs)))
		check(t, err)
		if r.FileSystem != string(fs) {
			t.Errorf("the file system is %s", r.FileSystem)
		}
		want := map[string]features.Answer{"project_quota": features.No, "reflink": features.No}
		if told, err := since("5.14"); err != nil || !told { // quotactl_fd
			check(t, err)
			want["project_quota"] = features.Unknown
		}
		for _, name := range always {
			want[name] = features.Yes
		}
		if shares[fs] {
			want["reflink"] = features.Yes
		}
		for name, answer := range want {
			f, err := resultOf(r, name)
			check(t, err)
			if f.Answer != answer {
				t.Errorf("%s is %s, want %s: %s", name, f.Answer, answer, f.Reason)
			}
		}
	})
}

// TestProbeReport_Text is the text of a report that has everything.
func TestProbeReport_Text(t *testing.T) {
	r := probeReport{
		Site: features.Site{Kernel: "6.1.0", Directory: "/var/lib\n", FileSystem: "ext4", InitialUserns: true},
		Native: nativeReport{Native: features.Native{
			Reasons: []features.Reason{{Code: features.CodeCasefold, Blocks: true, Text: "the directory ignores case"}},
			Compat:  []features.Verdict{{Tool: "moby", Reason: "why\nnot"}, {Tool: "containers/storage", Native: true}},
		}},
		Features: []features.Result{
			{Name: "first", Group: "one", Answer: features.Yes, Asks: "a thing", Reason: "501, too"},
			{Name: "second", Group: "one", Answer: features.No, Asks: "another", Reason: "it is refused", Follows: "copies " + strings.Repeat("and copies ", 8)},
			{Name: "third", Group: "one", Answer: features.No, Asks: "it, too", Reason: "it is refused", Follows: "more copies"},
			{Name: "fourth", Group: "one", Answer: features.No, Asks: "on top", Reason: "it takes second", Lacks: "second"},
			{Name: "fifth", Group: "two", Answer: features.Unknown, Asks: "what", Reason: "permission is denied"},
			{Name: "sixth", Group: "two", Answer: features.No, Asks: "on top", Reason: "it takes second", Lacks: "second"},
		},
	}
	const want = `"/var/lib\n" on ext4, Linux 6.1.0, root without CAP_SYS_ADMIN

native diff: no
  casefold: the directory ignores case
  moby: naive, why; not
  containers/storage: native

one
  yes first                     a thing: 501, too
  no  second                    another
                                it is refused
                                -> copies and copies and copies and copies and copies and copies and
                                   copies and copies and copies
  no  third                     it, too
                                for the same reason
                                -> more copies
  no  for lack of second: fourth

two
  ?   fifth                     what
                                permission is denied
  no  for lack of second: sixth
`
	var out strings.Builder
	check(t, r.print(&out))
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
