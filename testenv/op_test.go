package testenv

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// script is what TestOps does.
const script = `
		# comments and empty lines are nothing

		write f "c d"
		rewrite f
		create new "a b"
		create g G
		open h
		truncate h 2
		chmod h 4600
		chown i 5:6
		setxattr i user.k=v=w
		setxattr i user.gone=1
		removexattr i user.gone
		acl k 1000:7
		capability c 400
		utimes d/x 5.000000001
		mkdir m 700
		rename d/x m/x
		rmtree d
		rmdir e
		exchange f m
		link m n
		tmpfile t tt
		mknod p fifo
		mknod nul char:1:3
		retarget l away
		todir new
		tofile q Q
		utimes m 1
		utimes q 1
		utimes t 1
		unlink h`

func TestOps(t *testing.T) {
	root := Scratch(t, Ext4)
	Tree(t, root, "file f content=ab", "dir d", "file d/x", "dir e", "symlink l -> f", "file g content=g", "file h", "file i", "file c", "file k", "dir q/r")
	Do(t, root, script)
	want := []string{
		`"c" 100644 0:0 1000000000.000000000 "" security.capability="\x01\x00\x00\x02\x00\x04` + strings.Repeat(`\x00`, 14) + `"`,
		`"f" 40700 0:0`, `"f/x" 100644 0:0 5.000000001 ""`, `"g" 100644 0:0 "G"`,
		`"i" 100644 5:6 1000000000.000000000 "" user.k="v=w"`,
		`"k" 100674 0:0 1000000000.000000000 "" system.posix_acl_access="\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff` +
			`\x02\x00\a\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\a\x00\xff\xff\xff\xff \x00\x04\x00\xff\xff\xff\xff"`,
		`"l" 120777 0:0 1000000000.000000000 -> away`,
		`"m" 100644 0:0 1.000000000 "` + invert("abc d") + `"`,
		`"n" 100644 0:0 1.000000000 "` + invert("abc d") + `"`,
		`"new" 40755 0:0`, `"nul" 20644 0:0 103`, `"p" 10644 0:0`,
		`"q" 100644 0:0 1.000000000 "Q"`, `"t" 100644 0:0 1.000000000 "tt"`,
	}
	var got []string
	for _, line := range show(t, root) {
		if strings.HasPrefix(line, `"."`) || strings.HasPrefix(line, `"lost+found"`) {
			continue
		}
		w := strings.Fields(line)
		if !strings.HasPrefix(w[3], "1000000000.") && len(w[3]) > 13 { // made now
			w = append(w[:3], w[4:]...)
		}
		got = append(got, strings.Join(w, " "))
	}
	for i := range want {
		want[i] = strings.Join(strings.Fields(want[i]), " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after the operations (-want +got):\n%s", diff)
	}
}

func invert(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] ^= 1
	}
	return string(b)
}

func TestOp_Refused(t *testing.T) {
	root := t.TempDir()
	Tree(t, root, "dir d/e", "file f", "fifo p", "symlink l -> f")
	for line, want := range map[string]syscall.Errno{
		"write none x": syscall.ENOENT,
		"rmdir d":      syscall.ENOTEMPTY,
		"rmtree f":     syscall.ENOTDIR,
		"unlink d":     syscall.EISDIR,
		"mkdir f":      syscall.EEXIST,
		"link d x":     syscall.EPERM,
		"rename d d/e": syscall.EINVAL,
		"create p x":   syscall.EINVAL, // must not block
		"open l":       syscall.EINVAL,
		"chmod l 600":  syscall.ELOOP,
		"exchange f x": syscall.ENOENT,
	} {
		op, err := ParseOp(line)
		if err == nil {
			err = op.Apply(root)
		}
		if !errors.Is(err, want) || !Refused(err) {
			t.Errorf("%s: %v, want %v", line, err, want)
		}
	}
	if Refused(nil) || Refused(os.ErrClosed) || Refused(syscall.EIO) {
		t.Error("an error that is no refusal counts as one")
	}
}

func TestParseOp(t *testing.T) {
	for _, o := range []Op{{"create", "a b", "x\n"}, {"open", "\xff", ""}, {"rename", "#1", `\`}} {
		if got, err := ParseOp(o.String()); err != nil || got != o {
			t.Errorf("ParseOp(%q) = %v, %v", o, got, err)
		}
	}
	for _, line := range []string{"", "fly a", "open", "open a b c"} {
		if op, err := ParseOp(line); err == nil {
			t.Errorf("ParseOp(%q) = %v, want an error", line, op)
		}
	}
}
