package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/freeze"
)

// pausing is the container that is frozen while a command reads it.
type pausing struct {
	wanted bool
	limit  time.Duration
	frozen *freeze.Pause // nil: not now
	report freeze.Report // after it was thawed
}

// register adds the flags to a command that reads a container.
func (p *pausing) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.wanted, "pause", false, "freeze the container while it is read: a point-in-time")
	cmd.Flags().DurationVar(&p.limit, "pause-limit", 10*time.Second, "thaw it after this `TIME`, and fail")
}

// check finds what can't be meant.
func (p *pausing) check(args []string) error {
	switch {
	case p.wanted && len(args) == 0:
		return usagef("--pause freezes the processes of a container: name it, or a process of it as pid:N")
	case p.wanted && p.limit <= 0:
		return usagef("--pause-limit %v: say how long the container may stand still, as 10s", p.limit)
	}
	return nil
}

// start freezes what the command line of f names, if that is wanted. The context that it
// returns ends when the container is thawed.
func (p *pausing) start(ctx context.Context, f *stackFlags) (context.Context, error) {
	if !p.wanted {
		return ctx, nil
	}
	if f.pid <= 0 {
		if f.container.ID != "" {
			return ctx, fmt.Errorf("freeze container %s: it has no process, so that there is nothing to freeze: read it without --pause", oneLine(f.container.Name))
		}
		return ctx, usagef("--pause freezes the processes of a container, and those that write to a mount are not known: name the container, or a process of it as pid:N")
	}
	var err error
	p.frozen, err = freeze.Start(ctx, freeze.Target{Root: f.root, PID: f.pid, ID: f.container.ID}, p.limit)
	if err != nil {
		return ctx, err
	}
	return p.frozen.Context(), nil
}

// context returns the context for reading: one that ends when the container is thawed.
func (p *pausing) context(cmd *cobra.Command) context.Context {
	if p.frozen == nil {
		return cmd.Context()
	}
	return p.frozen.Context()
}

// end thaws the container, err being what came of reading it, and returns the error that counts.
func (p *pausing) end(err error) error {
	if p.frozen == nil {
		return err
	}
	report, thawErr := p.frozen.Thaw()
	p.frozen, p.report = nil, report
	if err == nil || errors.As(thawErr, new(*freeze.LimitError)) {
		return thawErr // the cause of what went wrong, if something did
	}
	return err
}

// pauseJSON is what an answer in JSON says of the pause.
type pauseJSON struct {
	Pause *pauseReport `json:"pause,omitempty"` // nil: none was wanted
}

type pauseReport struct {
	Seconds     float64 `json:"frozen_seconds"`
	Before      bool    `json:"paused_before"`
	PointInTime bool    `json:"point_in_time"`
}

// of returns what is to be said of the pause. An entry that changed although the container
// stood still was written by somebody else.
func (p *pausing) of(d *overlaydiff.Diff) pauseJSON {
	if !p.wanted {
		return pauseJSON{}
	}
	return pauseJSON{&pauseReport{p.report.Frozen.Seconds(), p.report.Before, d.Raced() == 0}}
}

// note says on standard error what came of the pause.
func (p *pausing) note(cmd *cobra.Command, d *overlaydiff.Diff) {
	if !p.wanted {
		return
	}
	what := "a point-in-time"
	if d.Raced() > 0 {
		what = "no point-in-time, as somebody outside of the container wrote to it"
	}
	how := "the container was frozen for " + p.report.Frozen.Round(time.Millisecond).String()
	if p.report.Before {
		how = "the container was paused before, and still is"
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "overlaydiff: %s: %s\n", what, how)
}
