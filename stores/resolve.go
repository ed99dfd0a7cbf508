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

	"github.com/overlaydiff/overlaydiff/diff"
)

// Resolve finds the container with that id or name, or else the one whose id
// begins so. A leading slash is ignored. Where several have the name, more says which
// is meant:
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
	want := strings.TrimPrefix(nameOrID, "/")
	if want == "" {
		return Container{}, errors.New("find a container: its name is empty: give a name or an id")
	}
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
	for _, rank := range []int{0, 1, 2} {
		for _, q := range queries(want, all, rank) {
			found := q.in(all, rank)
			if len(found) == 1 {
				return found[0], nil
			}
			if len(found) > 1 {
				return Container{}, ambiguous(want, found)
			}
		}
	}
	var err error = &UnknownError{Name: short(want), Stores: len(stores)}
	for _, e := range unread {
		err = and(err, e)
	}
	return Container{}, err
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

// in returns the containers of a rank that are meant: by id and name, or else those
// whose id begins so.
func (q query) in(all []Container, rank int) []Container {
	for _, matches := range []func(Container) bool{
		func(c Container) bool { return c.ID == q.word || slices.Contains(c.Names, q.word) },
		func(c Container) bool { return strings.HasPrefix(c.ID, q.word) },
	} {
		var found []Container
		for _, c := range all {
			if c.Owner.rank() == rank && q.of(c) && matches(c) {
				found = append(found, c)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
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
	Name   string // what was looked for, cut off if it is long
	Stores int    // that were asked
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("none of the %d stores of containers has %s: give a name, or the beginning of an id", e.Stores, diff.QuotePath(e.Name))
}

// Is makes the error match [fs.ErrNotExist].
func (e *UnknownError) Is(target error) bool { return target == fs.ErrNotExist }

// notFound is an error that matches [fs.ErrNotExist].
type notFound string

func (e notFound) Error() string { return string(e) }

func (e notFound) Is(target error) bool { return target == fs.ErrNotExist }

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
		one := diff.QuotePath(of + ":" + c.ID)
		if c.Name != c.ID {
			one += " (" + diff.QuotePath(c.Name) + ")"
		}
		list = append(list, one)
	}
	return fmt.Errorf("find the container %s: %d have that name or begin so: %s: name one of them so",
		diff.QuotePath(short(want)), len(found), strings.Join(list, ", "))
}
