package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
)

const (
	contentType = "text/plain; version=0.0.4; charset=utf-8"
	maxLabel    = 200      // bytes of a label's value
	maxAnswer   = 16 << 20 // bytes of an answer, about
)

// gauges are the families of metrics that each container has.
var gauges = []struct {
	name, help string
	value      func(node.Measured) (int64, bool)
}{
	{"size_rw_bytes", "Bytes that the writable layer holds.", func(m node.Measured) (int64, bool) { return m.SizeRw, true }},
	{"size_root_fs_bytes", "Bytes of the writable layer and of the layers of the image.", func(m node.Measured) (int64, bool) { return m.SizeRootFs, m.RootFsErr == nil }},
	{"disk_bytes", "Bytes that are allocated for the writable layer.", func(m node.Measured) (int64, bool) { return m.Usage.DiskBytes, true }},
	{"inodes", "Inodes of the writable layer.", func(m node.Measured) (int64, bool) { return m.Usage.Inodes, true }},
	{"savable_bytes", "Bytes of files in the writable layer that have the content of the image's.", func(m node.Measured) (int64, bool) { return m.CopyUps.Bytes(), m.CopyUpsErr == nil }},
}

// newScan writes down what was measured since start. failed counts what could not be
// looked at, left what was not measured because of bounds.
func newScan(found []node.Measured, start time.Time, failed, left int) (*scan, error) {
	node.SortByOwner(found)
	var shown []node.Measured
	var labels [][]*dto.LabelPair
	seen, size, unsupported := map[string]bool{}, 0, 0
	for _, m := range found {
		switch {
		case errors.Is(m.Err, diff.ErrUnsupported): // that is how the container is made
			unsupported++
			continue
		case m.Err != nil:
			failed++
			continue
		}
		pairs, key := labelsOf(m)
		switch size += len(gauges) * (len(key) + 100); {
		case seen[key]: // two of one name would make the whole answer invalid
			failed++
		case size > maxAnswer:
			left++
		default:
			seen[key] = true
			shown, labels = append(shown, m), append(labels, pairs)
		}
	}
	s := &scan{at: time.Now()}
	var text bytes.Buffer
	for _, g := range gauges {
		family := gauge("overlaydiff_container_"+g.name, g.help)
		for i, m := range shown {
			if v, known := g.value(m); known {
				family.Metric = append(family.Metric, metric(float64(v), labels[i]))
			}
		}
		if err := write(&text, family); err != nil {
			return nil, err
		}
	}
	for _, one := range []struct {
		name, help string
		value      float64
	}{
		{"timestamp_seconds", "When the containers were measured.", float64(s.at.UnixMilli()) / 1000},
		{"duration_seconds", "How long that took.", s.at.Sub(start).Seconds()},
		{"failed", "Containers and stores that could not be measured.", float64(failed)},
		{"unsupported", "Containers whose layers no overlay is made of.", float64(unsupported)},
		{"left_out", "Containers that are not shown because there are too many.", float64(left)},
	} {
		family := gauge("overlaydiff_scan_"+one.name, one.help)
		family.Metric = []*dto.Metric{metric(one.value, nil)}
		if err := write(&text, family); err != nil {
			return nil, err
		}
	}
	s.text = bytes.Clone(text.Bytes())
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(s.text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	s.zipped = bytes.Clone(zipped.Bytes())
	return s, nil
}

func gauge(name, help string) *dto.MetricFamily {
	return &dto.MetricFamily{Name: &name, Help: &help, Type: dto.MetricType_GAUGE.Enum()}
}

func metric(value float64, labels []*dto.LabelPair) *dto.Metric {
	return &dto.Metric{Gauge: &dto.Gauge{Value: &value}, Label: labels}
}

// write writes a family, unless it is empty.
func write(text *bytes.Buffer, family *dto.MetricFamily) error {
	if len(family.Metric) == 0 {
		return nil
	}
	if _, err := expfmt.MetricFamilyToText(text, family); err != nil {
		return fmt.Errorf("write the metric %s: %w", family.GetName(), err)
	}
	return nil
}

// labelsOf returns the labels of a container, and one word for all of them. What is in
// a user's store is named so that it is never taken for root's.
func labelsOf(m node.Measured) (pairs []*dto.LabelPair, key string) {
	id, name, owner, pod := m.ID, m.Name, m.Owner.String(), m.Pod
	if m.Owner.UID != 0 {
		id, name = owner+"/"+id, owner+"/"+name
		if pod != (stores.Pod{}) {
			pod.Namespace, pod.Name, pod.Container = owner+"/"+pod.Namespace, owner+"/"+pod.Name, owner+"/"+pod.Container
		}
	}
	for _, l := range []struct{ name, value string }{
		{"container", pod.Container}, {"container_namespace", m.Namespace}, {"id", id}, {"image", m.Image}, {"k8s_namespace", pod.Namespace}, {"name", name},
		{"owner", owner}, {"pod", pod.Name}, {"runtime", string(m.Runtime)}, {"state", string(m.State)},
	} {
		value := labelValue(l.value)
		pairs = append(pairs, &dto.LabelPair{Name: &l.name, Value: &value})
		key += value + "\x00"
	}
	return pairs, key
}

// labelValue makes a word of a store harmless: valid, without control characters, and
// of a bounded length. What is cut off is told apart by a hash.
func labelValue(word string) string {
	head := word[:min(len(word), 2*maxLabel)]
	clean := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(head, string(utf8.RuneError)))
	if len(clean) <= maxLabel && len(head) == len(word) {
		return clean
	}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(word))
	tail := fmt.Sprintf("…%016x", hash.Sum64())
	return strings.ToValidUTF8(clean[:min(len(clean), maxLabel-len(tail))], "") + tail
}
