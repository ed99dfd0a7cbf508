//go:build linux

package stores

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Resolve finds the container with that id, that name, or an id that begins so:
// in this order, as Docker and Podman do. A leading slash of a name is ignored.
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
	for _, matches := range []func(Container) bool{
		func(c Container) bool { return c.ID == want },
		func(c Container) bool { return slices.Contains(c.Names, want) },
		func(c Container) bool { return strings.HasPrefix(c.ID, want) },
	} {
		var found []Container
		for _, c := range all {
			if matches(c) {
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
		list = append(list, fmt.Sprintf("%s %s (%s)", c.Runtime, diff.QuotePath(c.ID), diff.QuotePath(c.Name)))
	}
	return fmt.Errorf("find the container %s: %d have that name or begin so: %s: give more of the id",
		diff.QuotePath(short(want)), len(found), strings.Join(list, ", "))
}
