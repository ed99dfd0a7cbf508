package main

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
)

// chart is lines over one number of a scenario, both axes logarithmic: equal
// factors are equal distances, and cost that follows the number is a slope of 1.
type chart struct {
	key, group, unit string
	lines            []line
	labels           map[float64]string // of x, where they are not numbers
}

type line struct {
	name   string
	points []point
}

type point struct {
	x, y  float64
	wrong bool
}

var axes = map[string]string{
	"image":    "entries of the image",
	"upper":    "entries of the upper directory",
	"layers":   "lower layers",
	"features": "redirect_dir, metacopy and index",
}

func newChart(key, group, unit string, scenes []*scene) *chart {
	c := &chart{key: key, group: group, unit: unit, labels: map[float64]string{}}
	at := map[string]int{}
	for _, s := range scenes {
		x, err := parseCount(s.values[key])
		if err != nil { // off, on
			x = math.Pow(10, float64(len(c.labels)))
		}
		c.labels[x] = s.values[key]
		for _, sub := range s.subjects {
			y, ok := sub.median(unit)
			if !ok || y <= 0 || sub.failed() || sub.isFloor() && unit != "sec/op" {
				continue
			}
			i, known := at[sub.name]
			if !known {
				i = len(c.lines)
				at[sub.name], c.lines = i, append(c.lines, line{name: sub.name})
			}
			c.lines[i].points = append(c.lines[i].points, point{x, y, sub.wrong() > 0})
		}
	}
	for _, l := range c.lines {
		slices.SortFunc(l.points, func(a, b point) int { return int(math.Copysign(1, a.x-b.x)) })
	}
	return c
}

func (c *chart) title() string {
	task, _, _ := strings.Cut(c.group, " ")
	what := map[string]string{"sec/op": "time", "peak-B": "peak memory"}[c.unit]
	return fmt.Sprintf("%s: %s against %s", task, what, axes[c.key])
}

// constant says what is the same at all points.
func (c *chart) constant() string {
	_, rest, _ := strings.Cut(c.group, " ")
	return "with " + strings.ReplaceAll(rest, " ", ", ")
}

// file is the name of its file, which charts with one title share.
func (c *chart) file() string {
	return strings.ToLower(strings.NewReplacer(":", "", " ", "-", ",", "").Replace(c.title())) + ".svg"
}

// few are the charts that the Markdown shows: the first four that plot time, none with the
// title of another.
func few(charts []*chart) (list []*chart) {
	for _, c := range charts {
		same := func(o *chart) bool { return o.title() == c.title() }
		if c.unit == "sec/op" && len(list) < 4 && !slices.ContainsFunc(list, same) {
			list = append(list, c)
		}
	}
	return list
}

// Where things are, in pixels.
const (
	width, height       = 860, 440
	left, right         = 80, 240
	top, bottom         = 24, 56
	plotWidth           = width - left - right
	plotHeight          = height - top - bottom
	legendStep, legendX = 21, width - right + 24
)

// scale maps a logarithmic axis to pixels.
type scale struct{ lo, hi, from, to float64 }

func (s scale) at(v float64) float64 {
	return s.from + (math.Log10(v)-s.lo)/(s.hi-s.lo)*(s.to-s.from)
}

func (c *chart) scales() (x, y scale) {
	loX, hiX, loY, hiY := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, l := range c.lines {
		for _, p := range l.points {
			loX, hiX = min(loX, p.x), max(hiX, p.x)
			loY, hiY = min(loY, p.y), max(hiY, p.y)
		}
	}
	const margin = 0.08 // of a decade or so, that no point lies on the frame
	x = scale{math.Log10(loX) - margin, math.Log10(hiX) + margin, left, left + plotWidth}
	y = scale{math.Floor(math.Log10(loY)), math.Ceil(math.Log10(hiY)), top + plotHeight, top}
	if y.lo == y.hi {
		y.hi++
	}
	return x, y
}

func (c *chart) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="sans-serif" font-size="13">`,
		width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title><rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", template.HTMLEscapeString(c.title()))
	if len(c.lines) > 0 {
		x, y := c.scales()
		c.frame(&b, x, y)
		for i, l := range c.lines {
			l.draw(&b, i, x, y)
		}
		c.legend(&b)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// frame draws the grid and the axes with their units.
func (c *chart) frame(b *strings.Builder, x, y scale) {
	for d := y.lo; d <= y.hi; d++ {
		v := y.at(math.Pow(10, d))
		fmt.Fprintf(b, `<path d="M%d %.1fh%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, v, plotWidth, left-8, v+4, format(math.Pow(10, d), c.unit))
	}
	last := math.Inf(-1)
	var values []float64
	for v := range c.labels {
		values = append(values, v)
	}
	slices.Sort(values)
	for _, v := range values {
		at := x.at(v)
		fmt.Fprintf(b, `<path d="M%.1f %dv%d" stroke="#eee"/>`, at, top, plotHeight)
		if at-last > 34 { // or labels would overlap
			fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", at, top+plotHeight+18, c.labels[v])
			last = at
		}
	}
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#888"/>`+"\n", left, top, plotWidth, plotHeight)
	scaleName := " (log scale)"
	if c.key == "features" {
		scaleName = ""
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s%s</text>`+"\n", left+plotWidth/2, height-14, axes[c.key], scaleName)
	what := map[string]string{"sec/op": "time (log scale)", "peak-B": "peak memory (log scale)"}[c.unit]
	fmt.Fprintf(b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", top+plotHeight/2, what)
}

var colours = []string{"#d62728", "#ff7f0e", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#e377c2", "#bcbd22"}

// style is how a line is drawn: ours thick, the floor grey and dashed.
func (l line) style(i int) (colour, more string) {
	switch {
	case l.name == "floor-walk-1-thread":
		return "#aaa", ` stroke-dasharray="2 4" stroke-width="2"`
	case strings.HasPrefix(l.name, "floor-walk"):
		return "#777", ` stroke-dasharray="2 4" stroke-width="2"`
	case l.name == "floor-1-thread":
		return "#888", ` stroke-dasharray="6 4" stroke-width="2"`
	case l.isFloor():
		return "#111", ` stroke-dasharray="6 4" stroke-width="2"`
	case strings.HasPrefix(l.name, "overlaydiff"):
		return colours[i%len(colours)], ` stroke-width="3.5"`
	}
	return colours[i%len(colours)], ` stroke-width="1.8"`
}

func (l line) isFloor() bool { return strings.HasPrefix(l.name, "floor-") }

func (l line) draw(b *strings.Builder, i int, x, y scale) {
	colour, more := l.style(i)
	var path []string
	for _, p := range l.points {
		path = append(path, fmt.Sprintf("%.1f,%.1f", x.at(p.x), y.at(p.y)))
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s"%s/>`, strings.Join(path, " "), colour, more)
	for _, p := range l.points {
		fmt.Fprintln(b, dot(x.at(p.x), y.at(p.y), colour, p.wrong))
	}
}

// dot is hollow where the answer is wrong.
func dot(x, y float64, colour string, wrong bool) string {
	fill := colour
	if wrong {
		fill = "#fff"
	}
	return fmt.Sprintf(`<circle cx="%.1f" cy="%.1f" r="4" fill="%s" stroke="%s" stroke-width="2"/>`, x, y, fill, colour)
}

func (c *chart) legend(b *strings.Builder) {
	// From the slowest to the fastest at the right end, as the lines are.
	order := make([]int, len(c.lines))
	for i := range order {
		order[i] = i
	}
	end := func(i int) float64 { p := c.lines[i].points; return p[len(p)-1].y }
	slices.SortFunc(order, func(i, j int) int { return int(math.Copysign(1, end(j)-end(i))) })
	wrong := false
	for row, i := range order {
		l := c.lines[i]
		y := float64(top + 8 + row*legendStep)
		colour, more := l.style(i)
		isWrong := slices.ContainsFunc(l.points, func(p point) bool { return p.wrong })
		wrong = wrong || isWrong
		fmt.Fprintf(b, `<path d="M%d %.1fh26" stroke="%s"%s/>%s<text x="%d" y="%.1f">%s</text>`+"\n",
			legendX-14, y, colour, more, dot(legendX-1, y, colour, isWrong), legendX+18, y+4, template.HTMLEscapeString(l.name))
	}
	if wrong {
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="#555">hollow: a wrong answer</text>`+"\n", legendX-14, top+16+len(c.lines)*legendStep)
	}
}

// format writes a value with its unit, short.
func format(v float64, unit string) string {
	steps := []struct {
		factor float64
		name   string
	}{{1e-9, "ns"}, {1e-6, "µs"}, {1e-3, "ms"}, {1, "s"}}
	if unit != "sec/op" {
		steps[0].name, steps[1].name, steps[2].name, steps[3].name = "B", "kB", "MB", "GB"
		v *= steps[0].factor
	}
	step := steps[0]
	for _, s := range steps {
		if v >= s.factor*(1-1e-9) {
			step = s
		}
	}
	v /= step.factor
	digits := max(0, 2-int(math.Floor(math.Log10(max(v, 1)))))
	text := fmt.Sprintf("%.*f", digits, v)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + " " + step.name
}
