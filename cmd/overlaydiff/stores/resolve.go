//go:build linux

package stores

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Resolve finds the container with that id or name, or else that of a pod, or else the one
// whose id begins so, or else the one of that image. A leading slash is ignored. A pod is
// named POD or NAMESPACE/POD, one of its containers POD/CONTAINER or NAMESPACE/POD/CONTAINER,
// and Compose's services PROJECT/SERVICE.
//
// Of several of that name, the one that runs is meant; if none does, the newest, if one
// runtime has made all of them. Else, more says which is meant:
//
//	RUNTIME:NAME         as "podman:web"; for one of containerd's, its namespace: "k8s.io:web"
//	USER/NAME            as "alice/web", or the user's number
//	RUNTIME@USER:NAME    as "podman@alice:web"; root's is "podman@root:web"
//
// Containers in a store of another user are looked at last, each kind of match: one that
// the caller or root has is never hidden or made ambiguous by them.
//
// The error matches [fs.ErrNotExist] if no store has such a container. It lists
// the containers if there are several, and says which stores could not be read.
// A container that was found but not wholly read has an Err of its own.
func Resolve(ctx context.Context, stores []Store, nameOrID string) (Container, error) {
	var all []Container
	var unread []error
	for _, s := range stores {
		list, err := s.Containers(ctx)
		if ctx.Err() != nil {
			return Container{}, ctx.Err()
		}
		if err != nil {
			unread = append(unread, err)
		}
		all = append(all, list...)
	}
	c, err := choose(all, nameOrID, fmt.Sprintf("the %d stores of containers", len(stores)))
	if errors.Is(err, fs.ErrNotExist) {
		for _, e := range unread {
			err = and(err, e)
		}
	}
	return c, err
}

// Choose is [Resolve] among containers that were listed.
func Choose(all []Container, nameOrID string) (Container, error) {
	return choose(all, nameOrID, fmt.Sprintf("the %d containers", len(all)))
}

// choose is Choose; among says for the error where the containers are from.
func choose(all []Container, nameOrID, among string) (Container, error) {
	want := strings.TrimPrefix(nameOrID, "/")
	if want == "" {
		return Container{}, errors.New("find a container: its name is empty: give a name or an id")
	}
	for _, find := range []func(rank int) []Container{
		func(rank int) []Container {
			for _, q := range queries(want, all, rank) {
				if found := q.in(all, rank); len(found) > 0 {
					return found
				}
			}
			return nil
		},
		func(rank int) []Container { return preferred(ofImage(want, all, rank)) },
	} {
		for _, rank := range []int{0, 1, 2} {
			switch found := find(rank); len(found) {
			case 0:
			case 1:
				return found[0], nil
			default:
				return Container{}, ambiguous(want, found)
			}
		}
	}
	return Container{}, &UnknownError{Name: short(want), Among: among}
}

// query is one meaning of a name on the command line.
type query struct {
	runtime string // or containerd's namespace; "" any
	user    string // "" any
	word    string
}

// queries returns the meanings of a name, the plain one first: names of pods have a
// '/', too. But a user does not give a container another user's name.
func queries(want string, all []Container, rank int) []query {
	of, word, qualified := strings.Cut(want, ":") // no runtime has ':' in names
	if !qualified {
		of, word = "", want
	}
	runtime, user, _ := strings.Cut(of, "@")
	list := []query{{runtime, user, word}}
	if first, rest, ok := strings.Cut(word, "/"); ok && user == "" && rest != "" {
		list = append(list, query{runtime, first, rest})
		isUser := first == "root" || slices.ContainsFunc(all, func(c Container) bool { return c.Owner.is(first) })
		if rank == 2 && isUser {
			list = list[1:]
		}
	}
	return list
}

// in returns the containers of a rank that are meant: by id and name, or else by pod, by the
// beginning of their id.
func (q query) in(all []Container, rank int) []Container {
	for _, by := range []struct {
		matches func(Container) bool
		one     bool // the one that runs, or the newest
	}{
		{func(c Container) bool { return c.ID == q.word || slices.Contains(c.Names, q.word) }, true},
		{func(c Container) bool { return c.Pod.is(q.word) }, true},
		{func(c Container) bool { return strings.HasPrefix(c.ID, q.word) }, false},
	} {
		var found []Container
		for _, c := range all {
			if c.Owner.rank() == rank && q.of(c) && by.matches(c) {
				found = append(found, c)
			}
		}
		if by.one {
			found = preferred(found)
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// ofImage returns the containers of a rank that are of an image, whose name may lack what Docker
// adds to it.
func ofImage(image string, all []Container, rank int) (found []Container) {
	for _, c := range all {
		short, _ := strings.CutPrefix(c.Image, "docker.io/")
		if c.Owner.rank() == rank && (image == c.Image || image == short || image == strings.TrimPrefix(short, "library/")) {
			found = append(found, c)
		}
	}
	return found
}

// is reports whether that names the pod's container, which is not the sandbox.
func (p Pod) is(word string) bool {
	return p.Name != "" && p.Container != sandbox && (word == p.Name || word == p.Namespace+"/"+p.Name || word == p.Name+"/"+p.Container)
}

// preferred returns the one container of several that is meant, or all of them if more than
// one can be.
func preferred(found []Container) []Container {
	called := func(c Container) string { return cmp.Or(c.Pod.String(), c.Name) }
	other := func(c Container) bool { return c.Pod != (Pod{}) && called(c) != called(found[0]) }
	if len(found) < 2 || slices.ContainsFunc(found, other) { // several containers of a pod
		return found
	}
	running := slices.DeleteFunc(slices.Clone(found), func(c Container) bool { return !c.State.runs() })
	switch len(running) {
	case 0:
	case 1:
		return running
	default:
		return found
	}
	newest := found[0]
	for _, c := range found[1:] {
		switch {
		case c.Runtime != newest.Runtime || c.Namespace != newest.Namespace || c.Owner != newest.Owner || called(c) != called(newest):
			return found
		case c.newer(newest):
			newest = c
		}
	}
	if slices.ContainsFunc(found, func(c Container) bool { return c.ID != newest.ID && !newest.newer(c) }) {
		return found // which one is the newest is not known
	}
	return []Container{newest}
}

func (s State) runs() bool { return s == Running || s == Paused || s == Restarting }

func (c Container) newer(than Container) bool {
	return cmp.Or(c.Created.Compare(than.Created), cmp.Compare(c.Pod.Attempt, than.Pod.Attempt)) > 0
}

func (q query) of(c Container) bool {
	return (q.runtime == "" || q.runtime == string(c.Runtime) || q.runtime == c.Namespace) && (q.user == "" || c.Owner.is(q.user))
}

// rank is 0 for what the caller has, then comes what root has.
func (o Owner) rank() int {
	switch {
	case o.UID == uint32(os.Geteuid()):
		return 0
	case o.UID == 0:
		return 1
	}
	return 2
}

// UnknownError says that no store has a container of that name. It matches
// [fs.ErrNotExist].
type UnknownError struct {
	Name  string // what was looked for, cut off if it is long
	Among string // what was searched: "the 2 stores of containers"
}

func (e *UnknownError) Error() string {
	return "none of " + e.Among + " has " + diff.QuotePath(e.Name) + ": give a name, or the beginning of an id"
}

// Is makes the error match [fs.ErrNotExist].
func (e *UnknownError) Is(target error) bool { return target == fs.ErrNotExist }

// notFound is an error that matches [fs.ErrNotExist].
type notFound string

func (e notFound) Error() string { return string(e) }

func (e notFound) Is(target error) bool { return target == fs.ErrNotExist }

// described returns the name, if it has one, the state and the age of a container.
func (c Container) described() string {
	var words []string
	if c.Name != c.ID {
		words = append(words, diff.QuotePath(c.Name))
	}
	if c.State != Unknown {
		words = append(words, string(c.State))
	}
	if c.Pod != (Pod{}) {
		words = append(words, fmt.Sprintf("attempt %d", c.Pod.Attempt))
	}
	if !c.Created.IsZero() {
		words = append(words, "made "+c.Created.UTC().Format(time.DateTime))
	}
	if words == nil {
		words = append(words, "state unknown")
	}
	return strings.Join(words, ", ")
}

func ambiguous(want string, found []Container) error {
	const most = 10
	var list []string
	for i, c := range found {
		if i == most {
			list = append(list, fmt.Sprintf("and %d more", len(found)-most))
			break
		}
		of := cmp.Or(c.Namespace, string(c.Runtime))
		if c.Owner.UID != 0 {
			of = string(c.Runtime) + "@" + c.Owner.String()
		}
		list = append(list, diff.QuotePath(of+":"+c.ID)+" ("+c.described()+")")
	}
	return fmt.Errorf("find the container %s: %d have that name or begin so: %s: name one of them so",
		diff.QuotePath(short(want)), len(found), strings.Join(list, ", "))
}
