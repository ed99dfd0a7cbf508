package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

func TestMessage(t *testing.T) {
	unsupported := &diff.UnsupportedError{Op: "read", Reason: "no index is known; name it", Err: syscall.EPERM}
	for _, test := range []struct {
		err  error
		want string // the end, or a part
	}{
		{&diff.SettingError{Setting: diff.SettingWork, Err: unsupported}, "read: no index is known; name it (--work)"},
		{fmt.Errorf("%w; nor can the naive engine", &diff.SettingError{Setting: diff.SettingWork, Err: unsupported}), "name it (--work); nor can"},
		{&diff.SettingError{Setting: diff.SettingUpper, Err: errors.New("name it")}, "name it (--upper)"},
		{&diff.SettingError{Setting: diff.SettingUserXattr, Err: errors.New("say so")}, "say so (--userxattr)"},
		{&diff.SettingError{Setting: diff.SettingTempDir, Err: errors.New("name one")}, "name one (--tmp)"},
		{&mountutil.OwnersError{}, "(--layer-map)"},
		{&layer.ReservedError{Path: "/.wh.x"}, "leave it out (--skip-reserved)"},
		{&stores.UnknownError{Name: "x", Among: "the 2 stores of containers"}, "the beginning of an id, that overlaydiff ps shows"},
		{errors.New("another"), "another"},
	} {
		if got := message(test.err); !strings.Contains(got, test.want) || strings.Contains(test.err.Error(), "--") {
			t.Errorf("message(%v) = %q, want %q in it", test.err, got, test.want)
		}
	}
}
