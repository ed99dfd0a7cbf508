package native_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// With verity=on or require a metacopy file can be seen but not read if its
// data does not have the digest that it names; so the engine answers as long as
// it needs no content, and then says what opening the file says.
//
// The file systems here have no fs-verity, so no data has a digest.
func TestVerity(t *testing.T) {
	testenv.Needs(t, testenv.Tmpfs, testenv.Verity)
	const (
		digest    = `"\x00\x24\x00\x010123456789abcdef0123456789abcdef"`
		malformed = `"\x00\x99\x00\x010123456789abcdef0123456789abcdef"`
	)
	for _, test := range []struct {
		verity diff.Verity
		value  string // of the metacopy attribute
		err    error  // of reading the file
	}{
		{diff.VerityOff, digest, nil},
		{diff.VerityOff, malformed, nil},
		{diff.VerityOn, "", nil},
		{diff.VerityOn, digest, syscall.EIO},
		{diff.VerityOn, malformed, syscall.EIO},
		{diff.VerityRequire, "", syscall.EIO},
		{diff.VerityRequire, digest, syscall.EIO},
	} {
		t.Run(test.verity.String()+" "+test.value, func(t *testing.T) {
			o := layers{
				options: "metacopy=on,verity=" + test.verity.String(),
				lower:   []string{"file same content=data; file other content=data; file source content=tada"},
				upper: "file same size=4 mode=600 xattr.trusted.overlay.metacopy=" + test.value +
					"; file other size=4 xattr.trusted.overlay.redirect=source xattr.trusted.overlay.metacopy=" + test.value,
			}.make(t, testenv.Scratch(t, testenv.Tmpfs))
			if o.stack.Features.Verity != test.verity {
				t.Fatalf("the options mean verity=%v", o.stack.Features.Verity)
			}
			v := o.mount(t)
			if _, err := os.ReadFile(filepath.Join(v.new, "other")); !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Fatalf("the expectation is wrong on this kernel: %v", err)
			}
			got, err := o.changes(t, 1)
			if test.err == nil {
				if err != nil || len(got) != 2 {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			var mark *native.MarkError
			if !errors.Is(err, test.err) || !errors.As(err, &mark) || mark.Xattr != "trusted.overlay.metacopy" {
				t.Errorf("got %q, %v", got, err)
			}
			if len(got) != 0 { // "same" comes later, and needs no content
				t.Errorf("before the error: %q", got)
			}
		})
	}
}
