package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
)

// orders are what --sort takes: numbers with the largest first, words in their order.
var orders = map[string]func(a, b node.Measured) int{
	"size":   func(a, b node.Measured) int { return largest(a.Err, b.Err, a.SizeRw, b.SizeRw) },
	"rootfs": func(a, b node.Measured) int { return largest(cmpErr(a), cmpErr(b), a.SizeRootFs, b.SizeRootFs) },
	"inodes": func(a, b node.Measured) int { return largest(a.Err, b.Err, a.Usage.Inodes, b.Usage.Inodes) },
	"savable": func(a, b node.Measured) int {
		return largest(cmp.Or(a.Err, a.CopyUpsErr), cmp.Or(b.Err, b.CopyUpsErr), a.CopyUps.Bytes(), b.CopyUps.Bytes())
	},
	"age":       func(a, b node.Measured) int { return b.Created.Compare(a.Created) }, // the newest first
	"name":      func(a, b node.Measured) int { return cmp.Compare(a.Name, b.Name) },
	"image":     func(a, b node.Measured) int { return cmp.Compare(a.Image, b.Image) },
	"namespace": func(a, b node.Measured) int { return cmp.Compare(a.Namespace, b.Namespace) },
	"owner":     func(a, b node.Measured) int { return cmp.Compare(a.Owner.UID, b.Owner.UID) },
	"runtime":   func(a, b node.Measured) int { return cmp.Compare(a.Runtime, b.Runtime) },
	"state":     func(a, b node.Measured) int { return cmp.Compare(a.State, b.State) },
}

func cmpErr(m node.Measured) error { return cmp.Or(m.Err, m.RootFsErr) }

// largest orders numbers; those that are not known come last.
func largest(errA, errB error, a, b int64) int {
	if (errA == nil) != (errB == nil) {
		if errA == nil {
			return -1
		}
		return 1
	}
	return cmp.Compare(b, a)
}

func sortKeys() []string { return slices.Sorted(maps.Keys(orders)) }

// parseSort returns the order that KEY[,KEY]… means.
func parseSort(keys string) (func(a, b node.Measured) int, error) {
	var by []func(a, b node.Measured) int
	for key := range strings.SplitSeq(keys, ",") {
		if orders[key] == nil {
			return nil, usagef("--sort %s: keys are %s", diff.QuotePath(keys), strings.Join(sortKeys(), ", "))
		}
		by = append(by, orders[key])
	}
	return func(a, b node.Measured) int {
		for _, order := range by {
			if n := order(a, b); n != 0 {
				return n
			}
		}
		return 0
	}, nil
}

// matchers are what --filter takes.
var matchers = map[string]func(c stores.Container, value string) bool{
	"id":        func(c stores.Container, v string) bool { return strings.HasPrefix(c.ID, v) },
	"name":      func(c stores.Container, v string) bool { return slices.ContainsFunc(append(c.Names, c.Name), has(v)) },
	"runtime":   func(c stores.Container, v string) bool { return string(c.Runtime) == v },
	"owner":     func(c stores.Container, v string) bool { return c.Owner.String() == v },
	"namespace": func(c stores.Container, v string) bool { return c.Namespace == v || c.Pod.Namespace == v },
	"pod":       func(c stores.Container, v string) bool { return c.Pod.Name == v || c.Pod.Namespace+"/"+c.Pod.Name == v },
	"state":     func(c stores.Container, v string) bool { return string(c.State) == v },
	"status":    func(c stores.Container, v string) bool { return string(c.State) == v }, // as docker calls it
	"image": func(c stores.Container, v string) bool {
		short := shortImage(c.Image)
		return v == c.Image || v == short || strings.HasPrefix(short, v+":") || strings.HasPrefix(c.Image, v+":")
	},
}

func has(part string) func(string) bool {
	return func(s string) bool { return strings.Contains(s, part) }
}

func filterKeys() []string { return slices.Sorted(maps.Keys(matchers)) }

// parseFilters returns what filters keep: of several of one key one has to match, of several keys
// all have to; one with != never may.
func parseFilters(filters []string) (func(stores.Container) bool, error) {
	type one struct{ key, value string }
	var never []one
	wanted := map[string][]string{}
	for _, f := range filters {
		key, value, ok := strings.Cut(f, "=")
		key, not := strings.CutSuffix(key, "!")
		switch {
		case !ok || matchers[key] == nil:
			return nil, usagef("--filter %s: say KEY=VALUE, with a key of %s", diff.QuotePath(f), strings.Join(filterKeys(), ", "))
		case not:
			never = append(never, one{key, value})
		default:
			wanted[key] = append(wanted[key], value)
		}
	}
	return func(c stores.Container) bool {
		for key, values := range wanted {
			if !slices.ContainsFunc(values, func(v string) bool { return matchers[key](c, v) }) {
				return false
			}
		}
		return !slices.ContainsFunc(never, func(o one) bool { return matchers[o.key](c, o.value) })
	}, nil
}
