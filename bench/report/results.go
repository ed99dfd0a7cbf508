package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// results are all runs of all subjects.
type results struct {
	machine [][2]string // what ran it: key, value
	scenes  []*scene    // in the order of the file
	runs    int         // of each subject
}

// scene is one task on one scenario.
type scene struct {
	task     string
	keys     []string // of the scenario, in order
	values   map[string]string
	subjects []*subject
}

// subject has the samples of one subject by unit.
type subject struct {
	name    string
	samples map[string][]float64
}

func (s *scene) name() string {
	var parts []string
	for _, k := range s.keys {
		parts = append(parts, k+"="+s.values[k])
	}
	return strings.Join(parts, " ")
}

func (s *scene) subject(name string) *subject {
	for _, x := range s.subjects {
		if x.name == name {
			return x
		}
	}
	return nil
}

// median of a unit; false if it was not measured.
func (s *subject) median(unit string) (float64, bool) {
	if s == nil || len(s.samples[unit]) == 0 {
		return 0, false
	}
	v := slices.Sorted(slices.Values(s.samples[unit]))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2, true
}

// spread is how far the samples of the time lie from their median at most; one
// alone has none.
func (s *subject) spread() string {
	m, ok := s.median("sec/op")
	v := s.samples["sec/op"]
	if !ok || m == 0 || len(v) < 2 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*max(slices.Max(v)-m, m-slices.Min(v))/m)
}

// failed: it has no answer, so its time means nothing.
func (s *subject) failed() bool { n, _ := s.median("error"); return n > 0 }

// wrong is at how many paths it is.
func (s *subject) wrong() int { n, _ := s.median("wrong"); return int(n) }

// isFloor: it is the limit, not a competitor.
func (s *subject) isFloor() bool { return strings.HasPrefix(s.name, "floor-") }

func read(files []string) (*results, error) {
	r := &results{}
	machine := map[string]string{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		reader := benchfmt.NewReader(f, name)
		for reader.Scan() {
			res, ok := reader.Result().(*benchfmt.Result)
			if !ok {
				continue // a line that only looks like one
			}
			for _, c := range res.Config {
				if c.File {
					machine[c.Key] = string(c.Value)
				}
			}
			r.add(res)
		}
		if err := errors.Join(reader.Err(), f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(machine)) {
		if k != "pkg" {
			r.machine = append(r.machine, [2]string{k, machine[k]})
		}
	}
	return r, nil
}

func (r *results) add(res *benchfmt.Result) {
	base, parts := res.Name.Parts()
	now := &scene{task: string(base), values: map[string]string{}}
	name := ""
	for _, p := range parts {
		k, v, ok := strings.Cut(strings.TrimPrefix(string(p), "/"), "=")
		switch {
		case !ok: // -2, the number of processors
		case k == "subject":
			name = v
		default:
			now.keys = append(now.keys, k)
			now.values[k] = v
		}
	}
	if name == "" {
		return
	}
	at := slices.IndexFunc(r.scenes, func(s *scene) bool { return s.task == now.task && maps.Equal(s.values, now.values) })
	if at < 0 {
		at = len(r.scenes)
		r.scenes = append(r.scenes, now)
	}
	s := r.scenes[at]
	x := s.subject(name)
	if x == nil {
		x = &subject{name: name, samples: map[string][]float64{}}
		s.subjects = append(s.subjects, x)
	}
	for _, v := range res.Values {
		x.samples[v.Unit] = append(x.samples[v.Unit], v.Value)
	}
	r.runs = max(r.runs, len(x.samples["sec/op"]))
}

// charts are all plots: of a number in which scenarios differ alone.
func (r *results) charts() (list []*chart) {
	for _, key := range []string{"image", "upper", "layers"} {
		groups := map[string][]*scene{}
		var order []string
		for _, s := range r.scenes {
			if _, err := parseCount(s.values[key]); err != nil {
				continue // the real image: it has no number
			}
			var rest []string
			for _, k := range s.keys {
				if k != key {
					rest = append(rest, k+"="+s.values[k])
				}
			}
			g := s.task + " " + strings.Join(rest, " ")
			if groups[g] == nil {
				order = append(order, g)
			}
			groups[g] = append(groups[g], s)
		}
		for _, g := range order {
			if len(groups[g]) < 2 {
				continue
			}
			list = append(list, newChart(key, g, "sec/op", groups[g]))
			if key != "layers" {
				list = append(list, newChart(key, g, "peak-B", groups[g]))
			}
		}
	}
	return append(list, r.featureCharts()...)
}

// featureCharts put the time with features off beside that with all of them on.
func (r *results) featureCharts() (list []*chart) {
	for _, off := range r.scenes {
		if off.values["features"] != "off" {
			continue
		}
		values := maps.Clone(off.values)
		values["features"] = "on"
		at := slices.IndexFunc(r.scenes, func(s *scene) bool { return s.task == off.task && maps.Equal(s.values, values) })
		if at < 0 {
			continue
		}
		c := newChart("features", off.task+" "+strings.ReplaceAll(off.name(), " features=off", ""), "sec/op", []*scene{off, r.scenes[at]})
		list = append(list, c)
	}
	return list
}

// parseCount reads a number as names of scenarios have it: 20, 1k, 1M.
func parseCount(s string) (float64, error) {
	times := 1.0
	if rest, ok := strings.CutSuffix(s, "M"); ok {
		s, times = rest, 1e6
	} else if rest, ok := strings.CutSuffix(s, "k"); ok {
		s, times = rest, 1e3
	}
	n, err := strconv.Atoi(s)
	return float64(n) * times, err
}
