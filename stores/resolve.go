//go:build linux

package stores

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Resolve finds the container with that id or name, or else the one whose id
// begins so. A leading slash is ignored. Where several runtimes have the name,
// RUNTIME:NAME says which is meant, as "podman:web"; for a container of
// containerd's, that may be its namespace: "k8s.io:web".
//
// The error matches [fs.ErrNotExist] if no store has such a container. It lists
// the containers if there are several, and says which stores could not be read.
// A container that was found but not wholly read has an Err of its own.
func Resolve(ctx context.Context, stores []Store, nameOrID string) (Container, error) {
	want := strings.TrimPrefix(nameOrID, "/")
	if want == "" {
		return Container{}, errors.New("find a container: its name is empty: give a name or an id")
	}
	owner, word, qualified := strings.Cut(want, ":") // no runtime has ':' in names
	if !qualified {
		owner, word = "", want
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
	for _, matches := range []func(Container) bool{
		func(c Container) bool { return c.ID == word || slices.Contains(c.Names, word) },
		func(c Container) bool { return strings.HasPrefix(c.ID, word) },
	} {
		var found []Container
		for _, c := range all {
			if (owner == "" || owner == string(c.Runtime) || owner == c.Namespace) && matches(c) {
				found = append(found, c)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return Container{}, ambiguous(want, found)
		}
	}
	var err error = notFound(fmt.Sprintf("none of the %d stores of containers has %s: give a name, or the beginning of an id, that overlaydiff ps shows",
		len(stores), diff.QuotePath(short(want))))
	for _, e := range unread {
		err = and(err, e)
	}
	return Container{}, err
}

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
		owner := cmp.Or(c.Namespace, string(c.Runtime))
		one := diff.QuotePath(owner + ":" + c.ID)
		if c.Name != c.ID {
			one += " (" + diff.QuotePath(c.Name) + ")"
		}
		list = append(list, one)
	}
	return fmt.Errorf("find the container %s: %d have that name or begin so: %s: name one of them so",
		diff.QuotePath(short(want)), len(found), strings.Join(list, ", "))
}
