package features

import (
	"context"
	"slices"
)

// The groups of questions, in the order in which they are asked.
const (
	groupOverlay = "overlay"
	groupDir     = "directory"
	groupUserns  = "user namespace"
	groupSyscall = "system call"
)

// scope is what an answer depends on.
type scope uint8

const (
	_         scope = iota
	onKernel        // nothing else
	onProcess       // its user namespace
	onDir           // the directory, its mount, the user namespace, the module's parameters
)

// probe is one question. Its name, group and asks are part of the interface.
type probe struct {
	name    string
	group   string
	since   string // Linux release; for messages and tests
	asks    string // what is true if the answer is yes
	how     string // what is done to find out
	follows string // what a no means
	source  string // where the rule is from, if not from the release alone
	depends scope
	options string   // that are not in the name, but in the key of the answer
	needs   []string // answers that must be yes, or nothing can be told
	run     func(ctx context.Context, s *session) error
	// child is for questions about a new user namespace; it runs there.
	child func(s *session) error
}

func (p *probe) result() Result {
	return Result{Name: p.name, Group: p.group, Asks: p.asks, Follows: p.follows, Since: p.since}
}

// catalogue has all questions, in the order in which they are shown. It is
// filled by init, since asking refers to it.
var catalogue []*probe

func init() {
	for _, group := range [][]probe{mountProbes, redirectProbes, layerProbes, optionProbes, dirProbes, fileProbes, usernsProbes, syscallProbes} {
		for i := range group {
			p := &group[i]
			if p.child != nil {
				name := p.name
				p.run = func(_ context.Context, s *session) error { return s.userns.answer(name) }
			}
			catalogue = append(catalogue, p)
		}
	}
}

func probeOf(name string) *probe {
	i := slices.IndexFunc(catalogue, func(p *probe) bool { return p.name == name })
	if i < 0 {
		return nil
	}
	return catalogue[i]
}

// Names returns the names of all questions, those of one group side by side.
func Names() []string {
	names := make([]string, len(catalogue))
	for i, p := range catalogue {
		names[i] = p.name
	}
	return names
}

// About describes a question.
type About struct {
	Name    string // as in [Result]
	Group   string // of questions that are shown together
	Since   string // the Linux release that brought it, or ""
	Asks    string // what is true if the answer is yes
	How     string // what is done to find out
	Follows string // what a no means
	Source  string // where the rule is documented, or ""
}

// Explain describes the named question, and false if there is none.
func Explain(name string) (About, bool) {
	p := probeOf(name)
	if p == nil {
		return About{}, false
	}
	return About{p.name, p.group, p.since, p.asks, p.how, p.follows, p.source}, true
}
