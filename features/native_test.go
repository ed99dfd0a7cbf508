package features_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestNativeDiff(t *testing.T) {
	const enabled = "kernel has CONFIG_OVERLAY_FS_REDIRECT_DIR enabled"
	native := func(tool string) features.Verdict { return features.Verdict{Tool: tool, Native: true} }
	for _, test := range []struct {
		options string
		ok      bool
		codes   []features.Code // in their order
		storage features.Verdict
		old     string // its reason on kernels that don't name the option
	}{
		{"", true, nil, native("containers/storage"), ""},
		{"nodev,noatime", true, nil, native("containers/storage"), ""},
		{"redirect_dir=on", true, []features.Code{"redirect_dir"}, features.Verdict{Tool: "containers/storage", Reason: enabled}, ""},
		{"metacopy=on", true, []features.Code{"redirect_dir", "metacopy"}, features.Verdict{Tool: "containers/storage", Reason: enabled}, ""},
		{"nodev,metacopy=on,index=on", true, []features.Code{"redirect_dir", "metacopy", "index"}, features.Verdict{Tool: "containers/storage", Reason: enabled}, ""},
		{"index=on", true, []features.Code{"index"}, native("containers/storage"), ""},
		{
			"brandnew=on", false, []features.Code{"unknown_option"},
			features.Verdict{Tool: "containers/storage", Reason: "failed to mount overlay: mount option brandnew: invalid argument (Unknown parameter 'brandnew'); the kernel refuses it"},
			"failed to mount overlay: mount overlay brandnew: invalid argument; the kernel refuses it",
		},
	} {
		t.Run(test.options, func(t *testing.T) {
			if d := mountutil.KernelDefaults(); d.RedirectDir == mountutil.On || d.Metacopy == mountutil.On || d.Index == mountutil.On {
				t.Fatalf("this kernel's defaults are not those that the test is for: %+v", d)
			}
			dir := testenv.Scratch(t, testenv.Ext4)
			var p features.Prober
			if err := p.Have(t.Context(), dir, "mount_api"); errors.Is(err, diff.ErrUnsupported) && !test.ok {
				test.storage.Reason = test.old
			} else if err != nil && !errors.Is(err, diff.ErrUnsupported) {
				t.Fatal(err)
			}
			got, err := p.NativeDiff(t.Context(), dir, test.options)
			if err != nil {
				t.Fatal(err)
			}
			var codes []features.Code
			for _, r := range got.Reasons {
				codes = append(codes, r.Code)
				if r.Text == "" || r.Blocks == test.ok {
					t.Errorf("%+v", r)
				}
			}
			if got.OK != test.ok || !slices.Equal(codes, test.codes) {
				t.Errorf("ok %v, reasons %q; want %v, %q", got.OK, codes, test.ok, test.codes)
			}
			if d := cmp.Diff([]features.Verdict{native("moby"), test.storage}, got.Compat); d != "" {
				t.Errorf("compat: -want +got\n%s", d)
			}
			empty(t, dir)
		})
	}
}

func TestNativeDiff_UserXattr(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := testenv.Scratch(t, fs)
		var p features.Prober
		got, err := p.NativeDiff(t.Context(), dir, "userxattr")
		if p.Have(t.Context(), dir, "userxattr") == nil {
			if err != nil || !got.OK || len(got.Reasons) > 0 {
				t.Errorf("%+v, %v", got, err)
			}
		} else if err == nil && got.OK { // no such option, or no user.* attributes
			t.Errorf("%+v", got)
		}
	})
}

func TestNativeDiff_OnOverlay(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	testenv.Tree(t, dir, "dir l", "dir u", "dir w")
	merged := testenv.Mount(t, testenv.Overlay{Lower: []string{dir + "/l"}, Upper: dir + "/u", Work: dir + "/w"})
	got, err := new(features.Prober).NativeDiff(t.Context(), merged, "")
	if err != nil || got.OK || len(got.Reasons) != 1 || got.Reasons[0].Code != features.CodeNoOverlay {
		t.Errorf("%+v, %v", got, err)
	}
	for _, v := range got.Compat {
		if v.Native || !strings.HasPrefix(v.Reason, "failed to mount overlay: ") {
			t.Errorf("%+v", v)
		}
	}
	empty(t, merged)
}

// An option that the kernel refuses is no bug of copy-up.
func TestNativeDiff_Refused(t *testing.T) {
	got, err := new(features.Prober).NativeDiff(t.Context(), testenv.Scratch(t, testenv.Tmpfs), "redirect_dir=on,userxattr")
	if err != nil || got.OK || len(got.Reasons) != 1 || got.Reasons[0].Code != features.CodeNoOverlay {
		t.Errorf("%+v, %v", got, err)
	}
	if v := got.Compat[1]; v.Native || !strings.HasPrefix(v.Reason, "failed to mount overlay: ") {
		t.Errorf("%+v", v)
	}
}

func TestNativeDiff_Errors(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	var option *mountutil.OptionError
	for _, options := range []string{"redirect_dir=maybe", "lowerdir=/x", "upperdir=/x", "index=on,index=off"} {
		if _, err := new(features.Prober).NativeDiff(t.Context(), dir, options); !errors.As(err, &option) {
			t.Errorf("%s: %v", options, err)
		}
	}
	empty(t, dir)
}
