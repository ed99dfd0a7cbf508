package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// stackFlags are the flags that name what is to be compared, and how.
type stackFlags struct {
	lower, upper, work string
	userxattr          bool
	options            string
	oldDir, newDir     string
	snapshots          bool
	layerMap           string
	owners             string
	root               string
	container          stores.Container // that was named; zero: none was
	pid                int              // of the container, or that was named; 0: none
	pausing            pausing

	engine  string
	content string
	strict  bool
	json    bool
	verbose bool

	kinds      bool                              // see [overlaydiff.Options]
	unreadable func(*diff.UnreadableError) error // nil: the first one is the error
}

func (f *stackFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.lower, "lower", "", "lower `DIRS`, TOP:…:BOTTOM; \\: for a colon, :: before data-only ones")
	flags.StringVar(&f.upper, "upper", "", "the upper `DIR`")
	flags.StringVar(&f.work, "work", "", "the work `DIR`, if the overlay is mounted with index=on")
	flags.BoolVar(&f.userxattr, "userxattr", false, "the overlay is mounted with userxattr: marks are user.overlay.*")
	flags.StringVar(&f.options, "options", "", "mount `OPTIONS`, as mount -o takes them")
	flags.StringVar(&f.oldDir, "old", "", "`DIR` of the old tree, instead of an overlay")
	flags.StringVar(&f.newDir, "new", "", "`DIR` of the new tree, instead of an overlay")
	flags.BoolVar(&f.snapshots, "snapshots", false, "--new is a snapshot made from --old, not written since")
	flags.StringVar(&f.layerMap, "layer-map", "", "id-map `RANGES` of the lower layers, CONTAINER:HOST:SIZE[,…], or none")
	flags.StringVar(&f.owners, "owners", string(overlaydiff.OwnersContainer), "whose `IDS` to report: container or host")
	flags.StringVar(&f.root, "root", "/", "`DIR` that is the node's root, to find containers")
	flags.StringVar(&f.engine, "engine", string(overlaydiff.Auto), "`ENGINE`: auto, native or naive")
	flags.StringVar(&f.content, "content", string(diff.ContentAuto), "`WHEN` contents are read: auto, always, never")
	flags.BoolVar(&f.strict, "strict", false, "fail if an entry changes while it is read, or can't be read")
	flags.BoolVar(&f.json, "json", false, "machine-readable output")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "report the engine, and the reason, on standard error")
	f.complete(cmd)
}

func (f *stackFlags) diffOptions() overlaydiff.Options {
	return overlaydiff.Options{
		Engine: overlaydiff.Choice(f.engine), Strict: f.strict, OnUnreadable: f.unreadable,
		Snapshots: f.snapshots, Content: diff.Content(f.content), Kinds: f.kinds, Owners: overlaydiff.Owners(f.owners),
	}
}

// check finds contradictions before anything is opened, and says which of the
// ways to name a stack is used.
func (f *stackFlags) check(args []string) error {
	switch overlaydiff.Choice(f.engine) {
	case overlaydiff.Auto, overlaydiff.Native, overlaydiff.Naive:
	default:
		return usagef("--engine %s: say auto, native or naive", strconv.Quote(f.engine))
	}
	switch diff.Content(f.content) {
	case diff.ContentAuto, diff.ContentAlways, diff.ContentNever:
	default:
		return usagef("--content %s: say auto, always or never", strconv.Quote(f.content))
	}
	switch overlaydiff.Owners(f.owners) {
	case "", overlaydiff.OwnersContainer, overlaydiff.OwnersHost:
	default:
		return usagef("--owners %s: say container or host", strconv.Quote(f.owners))
	}
	if err := checkRoot(f.root); err != nil {
		return err
	}
	ways := []string{}
	for _, way := range []struct {
		name string
		used bool
	}{
		{"an argument", len(args) > 0},
		{"--options", f.options != ""},
		{"--old and --new", f.oldDir != "" || f.newDir != ""},
		{"--lower and --upper", f.lower != "" || f.upper != "" || f.work != "" || f.userxattr},
	} {
		if way.used {
			ways = append(ways, way.name)
		}
	}
	switch {
	case f.snapshots && f.oldDir == "" && f.newDir == "":
		return usagef("--snapshots says something of --old and --new: name both")
	case len(ways) == 0:
		return usagef("name an overlay: where it is mounted, pid:N, a container, --lower and --upper, --options, or --old and --new")
	case len(ways) > 1:
		return usagef("name one overlay only: %s don't go together", strings.Join(ways, " and "))
	case len(args) == 1 && args[0] == "":
		return usagef("the name of the overlay is empty: say where it is mounted")
	case len(args) > 1:
		return usagef("name one overlay only, not %d", len(args))
	}
	return nil
}

// stack finds the overlay that the command line names.
func (f *stackFlags) stack(ctx context.Context, args []string) (s diff.Stack, err error) {
	switch {
	case len(args) > 0:
		var c stores.Container
		c, err = f.named(ctx, args[0])
		s, f.container = c.Stack, c
	case f.options != "":
		if s, err = overlaydiff.FromOptions(f.options); err == nil && s.Upper != "" {
			s, err = overlaydiff.Foresee(ctx, s)
		}
	default:
		s, err = f.byFlags(ctx)
	}
	if f.layerMap != "" && (err == nil || errors.As(err, new(*mountutil.OwnersError))) {
		return f.mapLayers(s)
	}
	if err == nil && len(args) == 0 {
		err = node.CheckLive(ctx, s)
	}
	return s, err
}

// mapLayers gives all lower layers the map of the command line.
func (f *stackFlags) mapLayers(s diff.Stack) (diff.Stack, error) {
	s.Owners = map[string]diff.IDMap{}
	if f.layerMap == "none" {
		return s, mountutil.CheckOwners(s)
	}
	ranges, err := idMaps("--layer-map", strings.Split(f.layerMap, ","))
	if err != nil {
		return s, err
	}
	for _, path := range s.Lower {
		s.Owners[path] = diff.IDMap{Users: ranges, Groups: ranges}
	}
	return s, mountutil.CheckOwners(s)
}

// byFlags is the stack of --lower and --upper.
func (f *stackFlags) byFlags(ctx context.Context) (diff.Stack, error) {
	s := diff.Stack{Upper: f.upper, Work: f.work, Features: diff.Features{
		// Without mount options, what the layers hold is honoured; overlayfs
		// itself never follows a user.overlay.redirect.
		UserXattr: f.userxattr, RedirectFollow: !f.userxattr, Metacopy: !f.userxattr,
		Index: f.work != "",
	}}
	var err error
	if f.lower != "" {
		s.Lower, s.Data, err = mountutil.ParseLower(f.lower)
	}
	if err == nil && len(s.Lower) > 0 && s.Upper != "" {
		s, err = overlaydiff.Foresee(ctx, s)
	}
	return s, err
}

// named finds what an argument names: a process, where an overlay is mounted, or
// a container, which alone has an ID.
func (f *stackFlags) named(ctx context.Context, arg string) (c stores.Container, err error) {
	if id, ok := strings.CutPrefix(arg, "pid:"); ok {
		id, point, inside := strings.Cut(id, ":")
		pid, err := strconv.Atoi(id)
		f.pid = pid
		if err != nil || pid <= 0 || inside && !filepath.IsAbs(point) {
			return c, usagef("%s: a process is named pid:N, with its number; pid:N:/PATH is an overlay that it sees there", diff.QuotePath(arg))
		}
		c.Stack, err = mountutil.StackInProcess(ctx, pid, cmp.Or(point, "/"))
		c.Stack, err = node.WithOwners(ctx, f.root, c.Stack, err)
		return c, err
	}
	c.Stack, err = overlaydiff.FromMount(ctx, arg)
	c.Stack, err = node.WithOwners(ctx, f.root, c.Stack, err)
	slash := strings.Count(arg, "/") == 1 && errors.Is(err, fs.ErrNotExist) // as docker inspect has names
	if err == nil || filepath.IsAbs(arg) && !slash || strings.HasPrefix(arg, ".") || ctx.Err() != nil {
		return c, err
	}
	found, notFound := node.Resolve(ctx, f.root, arg)
	f.pid = found.PID
	switch {
	case notFound == nil:
		return found, hasLayers(found)
	case !errors.Is(notFound, fs.ErrNotExist):
		return found, notFound
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w; and %w", err, notFound)
	}
	return c, err
}

// hasLayers says why a container is no overlay.
func hasLayers(c stores.Container) error {
	if c.Err == nil && len(c.Stack.Lower) == 0 {
		return &diff.UnsupportedError{
			Op:     "find the layers of container " + diff.QuotePath(c.Name),
			Reason: "it has no image, so that its root directory is no overlay: all in " + diff.QuotePath(c.Stack.Upper) + " is its own",
		}
	}
	return c.Err
}

// open opens the comparison that the command line names.
func (f *stackFlags) open(ctx context.Context, args []string) (*overlaydiff.Diff, error) {
	if err := errors.Join(f.check(args), f.pausing.check(args)); err != nil {
		return nil, err
	}
	if f.oldDir != "" || f.newDir != "" {
		if f.oldDir == "" || f.newDir == "" {
			return nil, usagef("--old and --new go together: name both trees")
		}
		d, err := overlaydiff.OpenTrees(ctx, f.oldDir, f.newDir, f.diffOptions())
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			err = fmt.Errorf("%w; name two directories that can be read", err)
		}
		return d, err
	}
	if len(args) == 0 && f.options == "" && (f.lower == "" || f.upper == "") {
		return nil, usagef("--lower and --upper go together: name both")
	}
	s, err := f.stack(ctx, args)
	if err != nil {
		return nil, err
	}
	if s.Upper == "" {
		return nil, usagef("the overlay has no upper directory, so nothing can have been changed: name one that is mounted with upperdir")
	}
	if ctx, err = f.pausing.start(ctx, f); err != nil {
		return nil, err
	}
	d, err := overlaydiff.Open(ctx, s, f.diffOptions())
	if err != nil {
		return nil, f.pausing.end(err)
	}
	return d, nil
}
