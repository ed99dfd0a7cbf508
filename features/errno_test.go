package features

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSettle: what is a no, and what tells nothing.
func TestSettle(t *testing.T) {
	wrapped := func(errno unix.Errno) error {
		return fmt.Errorf("mount: %w", &fs.PathError{Op: "mount", Path: "x", Err: errno})
	}
	for _, test := range []struct {
		err      error
		want     Answer
		volatile bool
	}{
		{nil, Yes, false},
		{no("it is not there"), No, false},
		{wrapped(unix.EINVAL), No, false},
		{wrapped(unix.ENOSYS), No, false},
		{wrapped(unix.EOPNOTSUPP), No, false},
		{wrapped(unix.ENODEV), No, true}, // a module may be loaded later
		{wrapped(unix.EPERM), Unknown, false},
		{wrapped(unix.EACCES), Unknown, false},
		{wrapped(unix.ENOSPC), Unknown, false},
		{wrapped(unix.EROFS), Unknown, false},
		{wrapped(unix.EIO), Unknown, false},
		{wrapped(unix.ENOENT), Unknown, false},
		{unsure(wrapped(unix.EINVAL)), Unknown, false},
		{errors.New("anything else"), Unknown, false},
	} {
		r := Result{Follows: "something"}
		r.settle(test.err)
		if r.Answer != test.want || r.volatile != test.volatile {
			t.Errorf("%v: %v, volatile %v", test.err, r.Answer, r.volatile)
		}
		if (r.Answer == Yes) != (r.Reason == "") || (r.Answer == No) != (r.Follows != "") {
			t.Errorf("%v: %+v", test.err, r)
		}
	}
}

func TestAnswer_Text(t *testing.T) {
	for _, a := range []Answer{Yes, No, Unknown} {
		text, err := a.MarshalText()
		var back Answer
		if err == nil {
			err = back.UnmarshalText(text)
		}
		if err != nil || back != a {
			t.Errorf("%v: %q, %v, %v", a, text, back, err)
		}
	}
	for _, a := range []Answer{0, Unknown + 1} {
		if text, err := a.MarshalText(); err == nil {
			t.Errorf("%d is %q", a, text)
		}
	}
	if err := new(Answer).UnmarshalText([]byte("maybe")); err == nil {
		t.Error("maybe is an answer")
	}
}
