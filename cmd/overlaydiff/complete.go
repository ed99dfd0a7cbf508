package main

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/diff"
)

// complete sets what a shell proposes where a STACK is named, and after flags.
func (f *stackFlags) complete(cmd *cobra.Command) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 && cmd.Name() == "explain" { // a path within the overlay
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := containerNames(cmd.Context(), f.root, begun)
		if len(names) > 0 {
			return names, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveFilterDirs // where an overlay is mounted
	}
	for flag, values := range map[string][]cobra.Completion{
		"engine":  {string(overlaydiff.Auto), string(overlaydiff.Native), string(overlaydiff.Naive)},
		"content": {string(diff.ContentAuto), string(diff.ContentAlways), string(diff.ContentNever)},
	} {
		// The error says that there is no such flag, or that it has one already.
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	for _, flag := range []string{"upper", "work", "old", "new", "root"} {
		_ = cmd.MarkFlagDirname(flag)
	}
}

// containerNames returns the names of this node's containers that begin so, and
// what each is. A name with anything odd in it is not proposed to a shell.
func containerNames(ctx context.Context, root, begun string) (names []cobra.Completion) {
	list, _ := node.List(ctx, root) // there is nobody to tell errors to
	for _, c := range list {
		if c.Runtime == node.Mounted {
			continue
		}
		name := c.Name
		if name == c.ID {
			name = shortID(name)
		}
		if c.Owner.UID != 0 && c.Owner.UID != uint32(os.Geteuid()) {
			name = c.Owner.String() + "/" + name
		}
		if strings.HasPrefix(name, begun) && diff.QuotePath(name) == name && !strings.ContainsAny(name, " \t:") {
			names = append(names, cobra.CompletionWithDesc(name, oneLine(string(c.Runtime)+", "+string(c.State)+", "+shortImage(c.Image))))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
