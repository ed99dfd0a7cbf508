package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// lack is something that tests need and kernels of a series don't have, on these
// file systems.
type lack struct {
	need testenv.Need
	on   []testenv.FS
}

var (
	everywhere = []testenv.FS{testenv.Tmpfs, testenv.Ext4, testenv.XFS, testenv.Btrfs}
	onTmpfs    = []testenv.FS{testenv.Tmpfs}
	asSuch     = []testenv.FS{""} // on whatever file system
)

// lacks is all that may be left out, by series. What a test asks for by
// testenv.Needs is looked for in each kernel, so a kernel that has lost
// something would pass in silence; here it is written down which have what.
var lacks = map[string][]lack{
	"5.10": {
		{testenv.DataLayers, everywhere},
		{testenv.FileSystemIDs, []testenv.FS{testenv.Tmpfs, testenv.Ext4}}, // the others have calls of their own
		{testenv.IDMaps, everywhere},
		{testenv.LayerHandles, everywhere},
		{testenv.LayersByFD, asSuch},
		{testenv.LooseOrigins, everywhere},
		{testenv.ManyLayers, asSuch},
		{testenv.MappedACLs, everywhere},
		{testenv.MetacopyHeaders, everywhere},
		{testenv.StrictMarks, everywhere},
		{testenv.Tmpfiles, everywhere},
		{testenv.UnmarkedDirs, everywhere},
		{testenv.UserXattrMarks, everywhere},
		{testenv.UserXattrs, onTmpfs},
		{testenv.UsernsOverlays, append(asSuch, everywhere...)}, // Debian's permit_mounts_in_userns is off
		{testenv.Verity, everywhere},
		{testenv.XattrEscapes, everywhere},
		{testenv.XattrWhiteouts, everywhere},
	},
	"6.1": {
		{testenv.DataLayers, everywhere},
		{testenv.FileSystemIDs, []testenv.FS{testenv.Tmpfs, testenv.Ext4}}, // the others have calls of their own
		{testenv.IDMaps, onTmpfs},
		{testenv.LayerHandles, everywhere},
		{testenv.LayersByFD, asSuch},
		{testenv.ManyLayers, asSuch},
		{testenv.MappedACLs, everywhere},
		{testenv.MetacopyHeaders, everywhere},
		{testenv.StrictMarks, everywhere},
		{testenv.Tmpfiles, everywhere},
		{testenv.UserXattrMarks, onTmpfs},
		{testenv.UserXattrs, onTmpfs},
		{testenv.UsernsOverlays, onTmpfs},
		{testenv.Verity, everywhere},
		{testenv.XattrEscapes, everywhere},
		{testenv.XattrWhiteouts, everywhere},
	},
	"6.12": {
		{testenv.LayersByFD, asSuch},
		{testenv.PlainDataLayers, []testenv.FS{testenv.Tmpfs, testenv.Ext4}},
		{testenv.StrictMarks, everywhere},
	},
	"6.18":   {},
	"latest": {},
}

// unexpected complains of tests that are left out without a known reason, and,
// of a result of all tests, of reasons that are none any more.
func unexpected(r *Result) (complaints []string) {
	known, ok := lacks[strings.TrimSuffix(r.Series, "-16k")] // the size of pages takes nothing away
	if !ok {
		return []string{fmt.Sprintf("what kernels of the series %s lack is unknown: add it to testenv/vm/matrix/expect.go", r.Series)}
	}
	stale := map[string]bool{}
	for _, l := range known {
		for _, fs := range l.on {
			stale[testenv.Lacks(l.need, fs)] = true
		}
	}
	for _, s := range r.Suites {
		for _, what := range slices.Sorted(maps.Keys(s.Absent)) {
			if _, known := stale[what]; known {
				stale[what] = false
			} else {
				complaints = append(complaints, fmt.Sprintf("%s: %d tests are left out for lack of %s, which kernels of this series had", s.Package, s.Absent[what], what))
			}
		}
		for _, why := range slices.Sorted(maps.Keys(s.Skips)) {
			complaints = append(complaints, fmt.Sprintf("%s: %d tests are skipped: %s", s.Package, s.Skips[why], why))
		}
	}
	if r.Part || r.Broken != "" {
		return complaints
	}
	for _, what := range slices.Sorted(maps.Keys(stale)) {
		if stale[what] {
			complaints = append(complaints, fmt.Sprintf("nothing was left out for lack of %s: take it out of testenv/vm/matrix/expect.go", what))
		}
	}
	return complaints
}
