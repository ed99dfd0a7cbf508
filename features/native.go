package features

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// Native is the verdict on reading the upper directories of overlays, instead of
// comparing whole trees, where they are mounted in one directory with the same
// options.
type Native struct {
	// OK is whether this module's native engine answers for them, and rightly.
	OK bool `json:"ok"`
	// Reasons has what is special about them; with OK, nothing that matters.
	Reasons []Reason `json:"reasons"`
	// Compat has the verdicts of other tools, which give up sooner.
	Compat []Verdict `json:"compat"`
}

// Code names a reason.
type Code string

// The codes.
const (
	CodeRedirectDir   Code = "redirect_dir"   // renamed directories are redirected
	CodeMetacopy      Code = "metacopy"       // files can be copied up without their data
	CodeIndex         Code = "index"          // hard links are kept together by an index
	CodeUserNamespace Code = "user_namespace" // this process is in a user namespace
	CodeOpaqueBug     Code = "opaque_bug"     // copy-up takes opaque marks along
	CodeUnreadable    Code = "unreadable"     // marks are in trusted.*, which can't be read
	CodeUnknownOption Code = "unknown_option" // a mount option may change what layers mean
	CodeCasefold      Code = "casefold"       // the directory ignores case
	CodeNoOverlay     Code = "no_overlay"     // no overlay can be mounted there like that
)

// Reason is something that is special about overlays.
type Reason struct {
	Code Code `json:"code"` // for programs
	// Blocks is whether the native engine can't answer because of it.
	Blocks bool   `json:"blocks"`
	Text   string `json:"text"`
}

// Verdict is what another tool decides.
type Verdict struct {
	Tool   string `json:"tool"`             // "moby" or "containers/storage"
	Native bool   `json:"native"`           // whether it diffs natively
	Reason string `json:"reason,omitempty"` // why not, in that tool's words
}

// NativeDiff tells whether overlays whose upper directories are in dir, mounted
// with the options (as in mount -o, without the layers; "" for the defaults),
// can be read natively. It is the successor of the function doesSupportNativeDiff
// that graph drivers carry.
//
// The error says that it can't be told: mounting failed, dir can't be written.
// The verdicts of the other tools are right even then.
func (p *Prober) NativeDiff(ctx context.Context, dir, mountOptions string) (verdict Native, err error) {
	parsed, err := mountutil.ParseOptions(mountOptions)
	if err != nil {
		return Native{}, err
	}
	if len(parsed.Lower) > 0 || parsed.Upper != "" || parsed.Work != "" {
		return Native{}, &mountutil.OptionError{Option: "lowerdir", Reason: "the layers are made for the probe: leave lowerdir, upperdir and workdir out"}
	}
	// What is a flag of the mount itself changes nothing here.
	own := parsed
	own.Generic = nil
	if err := ctx.Err(); err != nil {
		return Native{}, err
	}
	err = privately(dir, func(s *session) error {
		n := nativeDiff{Prober: p, ctx: ctx, s: s, options: own.String()}
		n.all = strings.Trim(n.options+","+strings.Join(own.Unknown, ","), ",")
		verdict.Compat = []Verdict{n.moby(), n.storage()}
		verdict.Reasons, err = n.reasons(parsed)
		if ctx.Err() != nil { // then what was not found out is no answer
			return ctx.Err()
		}
		return err
	})
	verdict.OK = err == nil
	for _, r := range verdict.Reasons {
		verdict.OK = verdict.OK && !r.Blocks
	}
	return verdict, err
}

func words(options string) []string {
	if options == "" {
		return nil
	}
	return strings.Split(options, ",")
}

// nativeDiff is one question for a verdict.
type nativeDiff struct {
	*Prober
	ctx     context.Context
	s       *session
	options string // those that are known
	all     string
}

// asks answers by trying with the given options. Without any, that is a question
// of the catalogue.
func (n *nativeDiff) asks(options string, name string, try func(*session, *prepared) error) Result {
	w := &probe{name: name, depends: onDir, options: options, run: onPrepared(words(options), try)}
	return n.one(n.ctx, n.s, w, map[string]Result{})
}

// mount asks whether overlays can be mounted there with the options.
func (n *nativeDiff) mount(options string) Result {
	if r := n.one(n.ctx, n.s, probeOf("mount"), map[string]Result{}); r.Answer != Yes || options == "" {
		return r
	}
	return n.asks(options, "mount", func(*session, *prepared) error { return nil })
}

// reasons finds what is special; an error if that can't be told.
func (n *nativeDiff) reasons(o mountutil.Options) (reasons []Reason, err error) {
	add := func(code Code, blocks bool, format string, args ...any) {
		reasons = append(reasons, Reason{code, blocks, fmt.Sprintf(format, args...)})
	}
	for _, option := range o.Unknown {
		add(CodeUnknownOption, true, "mount option %s is unknown and may change what the layers mean", option)
	}
	if sys.IsCasefolded(int(n.s.dir.Fd())) {
		add(CodeCasefold, true, "the directory ignores case, which the native engine doesn't")
	}
	if !initialUserns() {
		add(CodeUserNamespace, false, "this process is in a user namespace; overlays are read as their options say")
	}
	if !n.s.trusted && !o.UserXattr {
		add(CodeUnreadable, true, "marks are in trusted.*, which takes CAP_SYS_ADMIN in the initial user namespace; without it overlays are mounted with userxattr: name that option if they are")
		return reasons, nil
	}
	switch mount := n.mount(n.options); mount.Answer {
	case No:
		add(CodeNoOverlay, true, "no overlay can be mounted there like that: %s", mount.Reason)
		return reasons, nil
	case Unknown:
		return reasons, fmt.Errorf("mount an overlay in this directory to see: %s", mount.Reason)
	}
	opaque := n.asks(n.options, "opaque_copy_up", tryOpaque)
	if opaque.Answer == Unknown {
		return reasons, fmt.Errorf("find out how overlays in this directory behave: %s", opaque.Reason)
	}
	if opaque.Answer == No {
		add(CodeOpaqueBug, true, "copy-up takes opaque marks along (fixed in Linux 4.8): %s", opaque.Reason)
	}
	for _, f := range []struct {
		code Code
		try  func(*session, *prepared) error
		text string
	}{
		{CodeRedirectDir, tryRename, "renamed directories are redirected, which the native engine follows"},
		{CodeMetacopy, tryChmod, "files can be copied up without their data, which the native engine finds"},
		{CodeIndex, tryLinks, "hard links are kept together by the index, which the native engine reads (name the work directory)"},
	} {
		switch r := n.asks(n.options, string(f.code)+"_default", f.try); r.Answer {
		case Yes:
			add(f.code, false, "%s", f.text)
		case Unknown:
			return reasons, fmt.Errorf("find out about %s in this directory: %s", f.code, r.Reason)
		}
	}
	return reasons, nil
}

// moby is doesSupportNativeDiff of moby's overlay2 driver, as of 2024 to 2026: it
// heeds no mount options.
func (n *nativeDiff) moby() Verdict {
	v := Verdict{Tool: "moby"}
	if mapped() {
		v.Reason = "running in a user namespace"
		return v
	}
	v.Reason = n.peer("")
	v.Native = v.Reason == ""
	return v
}

// storage is doesSupportNativeDiff of containers/storage, which mounts with the
// driver's options, and with userxattr if it is rootless.
func (n *nativeDiff) storage() Verdict {
	v := Verdict{Tool: "containers/storage", Reason: n.peer(n.all)}
	if v.Reason == "" && n.s.trusted && slices.Contains(words(n.options), "userxattr") {
		// With privileges it makes trusted.* marks, which such an overlay copies up
		// as it does any attribute.
		v.Reason = copiedUp
	}
	v.Native = v.Reason == ""
	return v
}

const copiedUp = "opaque flag erroneously copied up, consider update to kernel 4.8 or later to fix"

// peer is the test that both do, and in which words it fails.
func (n *nativeDiff) peer(options string) string {
	if mount := n.mount(options); mount.Answer != Yes {
		return "failed to mount overlay: " + mount.Reason
	}
	opaque := n.asks(options, "opaque_copy_up", tryOpaque)
	switch opaque.Answer {
	case No:
		return copiedUp
	case Unknown:
		return opaque.Reason
	}
	switch rename := n.asks(options, "redirect_dir_default", tryRename); rename.Answer {
	case Yes:
		return "kernel has CONFIG_OVERLAY_FS_REDIRECT_DIR enabled"
	case Unknown:
		return rename.Reason
	}
	return ""
}

// mapped is how others find out that they are in a user namespace.
func mapped() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(ids)), " ") != "0 0 4294967295"
}
