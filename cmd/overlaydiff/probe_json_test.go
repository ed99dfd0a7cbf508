package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/features"
)

// probeField is one field of the JSON. The document has them from here, and
// every JSON that a test sees is held to them.
type probeField struct {
	path, json string // its place, "[]" for each element; its JSON type
	maybe      bool   // it can be missing
	says       string
}

var probeFields = []probeField{
	{"kernel", "string", false, "the release, as `uname -r` has it; for messages"},
	{"directory", "string", false, "as it was named"},
	{"file_system", "string", false, "its type: `ext4`; `type 0x…` if it has no name here"},
	{"uid", "number", false, "the effective user id"},
	{"initial_user_namespace", "boolean", false, "whether the process is in the initial user namespace"},
	{"trusted_xattrs", "boolean", false, "whether `trusted.*` attributes can be read, which takes `CAP_SYS_ADMIN` in the initial user namespace"},
	{"native_diff", "object", false, "whether upper directories there can be read, instead of comparing whole trees"},
	{"native_diff.ok", "boolean", false, "true: the native engine answers, and rightly. False if it does not, and if it can't be told"},
	{"native_diff.error", "string", true, "why it can't be told. Only then is it there"},
	{"native_diff.reasons", "array", false, "what is special about overlays there; may be empty"},
	{"native_diff.reasons[].code", "string", false, "which, see above"},
	{"native_diff.reasons[].blocks", "boolean", false, "whether the native engine can't answer because of it"},
	{"native_diff.reasons[].text", "string", false, "in words; they may change"},
	{"native_diff.compat", "array", false, "what other tools' own tests decide, by the same means"},
	{"native_diff.compat[].tool", "string", false, "`moby` or `containers/storage`"},
	{"native_diff.compat[].native", "boolean", false, "whether that tool reads upper directories there"},
	{"native_diff.compat[].reason", "string", true, "why not"},
	{"features", "array", false, "one object for each question below, in this order"},
	{"features[].name", "string", false, "the question; a name never changes its meaning"},
	{"features[].group", "string", false, "the heading that it is under"},
	{"features[].answer", "string", false, "`yes`, `no` or `unknown`"},
	{"features[].asks", "string", false, "what is true if the answer is yes"},
	{"features[].reason", "string", true, "what the kernel said. With yes, a detail if there is one; else it is always there"},
	{"features[].follows", "string", true, "what a no means for those who use overlays. Only with no, and not with `lacks`"},
	{"features[].lacks", "string", true, "the question whose answer is the reason that this one has the same"},
	{"features[].since", "string", true, "the Linux release that brought it; for messages, no answer comes from it"},
}

// checkProbeJSON returns what is wrong with one line of JSON.
func checkProbeJSON(line string) error {
	var object map[string]any
	if err := json.Unmarshal([]byte(line), &object); err != nil {
		return err
	}
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		return errors.New("not one line")
	}
	var errs []error
	errs = append(errs, checkFields("", object)...)
	r, err := reportOf(line)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, checkReport(r))...)
}

func reportOf(line string) (r probeReport, err error) {
	err = json.Unmarshal([]byte(line), &r)
	return r, err
}

// checkFields holds the fields of an object, which is at path, and those of the
// objects in it to the list.
func checkFields(path string, object map[string]any) (errs []error) {
	known := map[string]bool{}
	for _, f := range probeFields {
		name, ok := strings.CutPrefix(f.path, path)
		if !ok || strings.ContainsAny(name, ".[") {
			continue
		}
		known[name] = true
		value, is := object[name]
		if !is {
			if !f.maybe {
				errs = append(errs, fmt.Errorf("%s is missing", f.path))
			}
			continue
		}
		if got := jsonType(value); got != f.json {
			errs = append(errs, fmt.Errorf("%s is a JSON %s, not %s", f.path, got, f.json))
		}
		switch v := value.(type) {
		case map[string]any:
			errs = append(errs, checkFields(f.path+".", v)...)
		case []any:
			for _, element := range v {
				if o, ok := element.(map[string]any); ok {
					errs = append(errs, checkFields(f.path+"[].", o)...)
				} else {
					errs = append(errs, fmt.Errorf("%s has something else than objects", f.path))
				}
			}
		case string:
			if f.maybe && v == "" {
				errs = append(errs, fmt.Errorf("%s is there, but empty", f.path))
			}
		}
	}
	for name := range object {
		if !known[name] {
			errs = append(errs, fmt.Errorf("%s%s is not documented", path, name))
		}
	}
	return errs
}

func jsonType(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}

// checkReport holds what is in the fields to what the document says of them.
func checkReport(r probeReport) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	answers := map[string]features.Answer{}
	var names []string
	for _, f := range r.Features {
		names = append(names, f.Name)
		answers[f.Name] = f.Answer
	}
	if d := cmp.Diff(features.Names(), names); d != "" {
		bad("the questions (-Names +JSON):\n%s", d)
	}
	for _, f := range r.Features {
		about, _ := features.Explain(f.Name)
		if f.Group != about.Group || f.Asks != about.Asks || f.Since != about.Since || f.Asks == "" {
			bad("%s: group, asks or since is not what Explain has: %+v", f.Name, f)
		}
		if f.Answer != features.Yes && f.Reason == "" {
			bad("%s is %s without a reason", f.Name, f.Answer)
		}
		if strings.ContainsFunc(f.Reason, func(r rune) bool { return r < ' ' }) || strings.Contains(f.Reason, "/proc/self/fd/") {
			bad("%s has a reason that is not for people: %q", f.Name, f.Reason)
		}
		if want := f.Answer == features.No && f.Lacks == ""; (f.Follows != "") != want {
			bad("%s is %s for lack of %q, but what follows is %q", f.Name, f.Answer, f.Lacks, f.Follows)
		}
		if f.Follows != "" && f.Follows != about.Follows {
			bad("%s: what follows is not what Explain has: %q", f.Name, f.Follows)
		}
		if f.Lacks != "" && (f.Lacks == f.Name || answers[f.Lacks] != f.Answer || f.Answer == features.Yes) {
			bad("%s is %s for lack of %s, which is %s", f.Name, f.Answer, f.Lacks, answers[f.Lacks])
		}
	}
	return errors.Join(append(errs, checkNative(r.Native))...)
}

func checkNative(n nativeReport) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	ok := n.Error == ""
	for _, reason := range n.Reasons {
		ok = ok && !reason.Blocks
		if !slices.ContainsFunc(probeCodes, func(c probeCode) bool { return c.code == reason.Code }) {
			bad("code %q is not documented", reason.Code)
		}
		if reason.Text == "" {
			bad("code %q comes without text", reason.Code)
		}
	}
	if n.OK != ok {
		bad("native_diff.ok is %t: %+v", n.OK, n)
	}
	var tools []string
	for _, v := range n.Compat {
		tools = append(tools, v.Tool)
		if v.Native != (v.Reason == "") {
			bad("%s: native %t, reason %q", v.Tool, v.Native, v.Reason)
		}
	}
	if !slices.Equal(tools, []string{"moby", "containers/storage"}) {
		bad("compat has %q", tools)
	}
	return errors.Join(errs...)
}

// The commands of scripts that are about probe.

type probeCode struct {
	code features.Code
	says string
}

var probeCodes = []probeCode{
	{features.CodeRedirectDir, "renamed directories are redirected. Native follows; other tools give up"},
	{features.CodeMetacopy, "files can be copied up without their data. Native finds the data"},
	{features.CodeIndex, "hard links are kept together by the index. Native needs the work directory for that"},
	{features.CodeUserNamespace, "the process is in a user namespace. Native reads the marks that the options name"},
	{features.CodeOpaqueBug, "copy-up takes opaque marks along, so that upper directories hide what nobody deleted (before Linux 4.8)"},
	{features.CodeUnreadable, "marks are in `trusted.*`, which the process can't read, and reading without them is wrong"},
	{features.CodeUnknownOption, "`--options` has one that is not known; it may change what layers mean"},
	{features.CodeCasefold, "the directory ignores case"},
	{features.CodeNoOverlay, "no overlay can be mounted there, at all or with these options"},
}
