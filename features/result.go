package features

import (
	"errors"
	"fmt"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Answer is what a probe found. The zero value is invalid.
type Answer uint8

// The answers.
const (
	_ Answer = iota
	Yes
	No
	Unknown // it could not be told
)

var answerNames = [...]string{Yes: "yes", No: "no", Unknown: "unknown"}

// String returns "yes", "no" or "unknown".
func (a Answer) String() string {
	if a < Yes || a > Unknown {
		return "invalid"
	}
	return answerNames[a]
}

// MarshalText makes JSON have the names.
func (a Answer) MarshalText() ([]byte, error) {
	if a < Yes || a > Unknown {
		return nil, fmt.Errorf("marshal an answer: %d is none", a)
	}
	return []byte(a.String()), nil
}

// UnmarshalText is the inverse of MarshalText.
func (a *Answer) UnmarshalText(text []byte) error {
	for i, name := range answerNames {
		if name != "" && name == string(text) {
			*a = Answer(i)
			return nil
		}
	}
	return fmt.Errorf("parse an answer: %q is none; say yes, no or unknown", text)
}

// Result is the answer to one question.
type Result struct {
	Name   string `json:"name"`   // one of [Names]
	Group  string `json:"group"`  // of questions that are shown together
	Answer Answer `json:"answer"` // yes, no or unknown
	// Asks is the statement that is true if the answer is yes.
	Asks string `json:"asks"`
	// Reason says what the kernel did, if the answer is not yes. With yes, it
	// may have a detail, like the number of layers that are accepted.
	Reason string `json:"reason,omitempty"`
	// Follows says what a no means for those who use overlays.
	Follows string `json:"follows,omitempty"`
	// Lacks names the question that this one depends on, if its answer is why.
	Lacks string `json:"lacks,omitempty"`
	// Since is the Linux release that brought it, if it was not always there.
	Since string `json:"since,omitempty"`

	// volatile is a no that may become a yes without anything changing that a
	// cached answer depends on: a module that is loaded.
	volatile bool
}

// Err returns the answer as an error: nil for yes; one that matches
// [diff.ErrUnsupported] for no; another one if it could not be told.
func (r Result) Err() error {
	switch r.Answer {
	case Yes:
		return nil
	case No:
		reason := r.Reason
		if r.Since != "" {
			reason += " (it came with Linux " + r.Since + ")"
		}
		return &diff.UnsupportedError{Op: "probe " + r.Name, Reason: reason}
	}
	return fmt.Errorf("probe %s: cannot tell: %s", r.Name, r.Reason)
}

// refusal is a conclusive no.
type refusal struct{ reason string }

func (e *refusal) Error() string { return e.reason }

func no(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// settle turns what a probe returned into the answer.
func (r *Result) settle(err error) {
	var refused *refusal
	switch {
	case err == nil:
		r.Answer = Yes
		r.Follows = ""
		return
	case errors.As(err, &refused):
		r.Answer, r.Reason = No, refused.reason
		return
	}
	r.Answer, r.Reason, r.volatile = judge(err)
	r.Reason = strings.ReplaceAll(r.Reason, "\n", "; ")
	if r.Answer == Unknown {
		r.Follows = ""
	}
}

// lacks is the answer where n, which it takes, is not yes.
func (r *Result) lacks(n Result) {
	r.Answer, r.volatile, r.Follows, r.Lacks = n.Answer, n.volatile, "", n.Name
	r.Reason = "it takes " + n.Name
	if n.Lacks != "" {
		r.Lacks = n.Lacks
	}
}
