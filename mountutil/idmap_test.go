//go:build linux

package mountutil

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
)

func TestParseIDMap(t *testing.T) {
	two := []diff.IDRange{{Container: 0, Host: 100000, Size: 1000}, {Container: 1000, Host: 4294967294, Size: 1}}
	for text, want := range map[string][]diff.IDRange{
		"":                                   nil,
		"         0          0 4294967295\n": nil,
		"0:0:4294967295":                     nil,
		"         0     100000       1000\n      1000 4294967294          1\n": two,
		"0:100000:1000,1000:4294967294:1":                                      two,
	} {
		got, err := ParseIDMap(text)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, d)
		}
	}
	for _, text := range []string{"0:1", "0:1:2:3", "0 1 2 3\n", "0:1:2,", ",0:1:2", "0:1:4294967296", "0:-1:2", "0:1:x", "0:1:2\n\n"} {
		if got, err := ParseIDMap(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
