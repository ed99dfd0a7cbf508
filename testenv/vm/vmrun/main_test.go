package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/overlaydiff/overlaydiff/testenv/vm"
)

func TestVerdict(t *testing.T) {
	ran := func(exit ...int) *vm.Report {
		r := &vm.Report{}
		for _, e := range exit {
			r.Commands = append(r.Commands, vm.Status{Exit: e})
		}
		return r
	}
	for _, test := range []struct {
		report *vm.Report
		err    error
		want   int
	}{
		{ran(0), nil, 0},
		{ran(1), nil, 1},
		{ran(137), nil, 137},
		{ran(), nil, noVerdict},
		{ran(0), fmt.Errorf("6.12: %w", vm.ErrNoVerdict), noVerdict}, // it panicked after the command
		{ran(), fmt.Errorf("6.12: %w", vm.ErrDeadline), tooLong},
		{ran(), context.Canceled, noVerdict},
	} {
		if got := verdict(test.report, test.err); got != test.want {
			t.Errorf("%d commands, error %v: exit status %d, want %d", len(test.report.Commands), test.err, got, test.want)
		}
	}
}
