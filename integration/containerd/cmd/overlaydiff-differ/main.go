//go:build linux

// Overlaydiff-differ is a proxy plugin of containerd: a diff service whose layers
// overlaydiff makes and unpacks, and, with -root, a snapshotter whose usage it
// measures. contrib/containerd has its unit and what containerd's configuration needs.
//
//	overlaydiff-differ [-address SOCKET] [-containerd SOCKET] [-root DIR] [-xattrs all|oci|none]
//
// It listens on a socket that only root can connect to, one that systemd hands over
// if there is one, until it gets SIGTERM or SIGINT. Comparisons that are under way
// then are given up and left to containerd's next differ.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/overlaydiff/overlaydiff/layer"
)

// settings are the flags.
type settings struct {
	address, containerd, root string
	xattrs                    layer.Xattrs
}

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	worker := len(os.Args) > 1 && os.Args[1] == workerName
	args := os.Args[1:]
	if worker {
		args = args[1:]
	}
	s, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		os.Exit(2)
	case worker:
		err = work(log, s)
	default:
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		err = serve(ctx, log, s)
		stop()
	}
	if err != nil {
		log.Error("overlaydiff-differ failed", "error", err)
		os.Exit(1)
	}
}

// parse reads the flags. It has said what is wrong with them.
func parse(args []string) (settings, error) {
	var s settings
	f := flag.NewFlagSet("overlaydiff-differ", flag.ContinueOnError)
	f.StringVar(&s.address, "address", "/run/overlaydiff/differ.sock", "listen on the `socket`, unless systemd hands one over")
	f.StringVar(&s.containerd, "containerd", "/run/containerd/containerd.sock", "the `socket` of the containerd that asks, whose content store has the layers")
	f.StringVar(&s.root, "root", "", "be a snapshotter, too, with its snapshots below the `directory`")
	xattrs := f.String("xattrs", string(layer.XattrsAll), "extended attributes in layers: all, oci (security.capability alone, as containerd's own differ has it) or none")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	s.xattrs = layer.Xattrs(*xattrs)
	var err error
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case s.xattrs != layer.XattrsAll && s.xattrs != layer.XattrsOCI && s.xattrs != layer.XattrsNone:
		err = fmt.Errorf("-xattrs %q: say all, oci or none", s.xattrs)
	}
	if err != nil {
		fmt.Fprintln(f.Output(), "overlaydiff-differ:", err)
	}
	return s, err
}
