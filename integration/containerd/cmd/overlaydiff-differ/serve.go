//go:build linux

package main

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"strings"
	"time"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/diffservice"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/defaults"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/overlaydiff/overlaydiff/integration/containerd/snapshotter"
	"github.com/overlaydiff/overlaydiff/integration/containerd/worker"
)

const (
	releaseWithin = 30 * time.Second
	releaseEvery  = 10 * time.Millisecond
	stopWithin    = 30 * time.Second
)

// serve answers calls on the socket until ctx is done.
func serve(ctx context.Context, log *slog.Logger, s settings) (err error) {
	listener, err := listen(s.address)
	if err != nil {
		return err
	}
	defer listener.Close()
	conn, err := dial(s.containerd)
	if err != nil {
		return err
	}
	defer conn.Close()
	parent := worker.New(func() *exec.Cmd { return workerCommand(s) }, releaser(conn))
	defer func() { err = errors.Join(err, parent.Close()) }()

	srv := grpc.NewServer(grpc.ChainUnaryInterceptor(logged(log), worker.HandOn),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize), grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize))
	diffapi.RegisterDiffServer(srv, diffservice.FromApplierAndComparer(parent, parent))
	if s.root != "" {
		sn, err := snapshotter.New(s.root)
		if err != nil {
			return err
		}
		defer sn.Close()
		snapshotsapi.RegisterSnapshotsServer(srv, snapshotservice.FromSnapshotter(sn))
	}
	stopped := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(stopped)
		stop(log, srv, parent)
	})()
	log.Info("serving", "address", listener.Addr().String(), "containerd", s.containerd, "root", s.root)
	if err := srv.Serve(listener); err != nil {
		return err
	}
	<-stopped // Serve returns as soon as it is told to stop
	return nil
}

// stop ends what is under way: comparisons are left to the next differ, and then
// all calls have an answer soon.
func stop(log *slog.Logger, srv *grpc.Server, parent *worker.Parent) {
	log.Info("shutting down")
	if err := parent.Close(); err != nil {
		log.Warn("shutting down", "error", err)
	}
	timer := time.AfterFunc(stopWithin, srv.Stop)
	defer timer.Stop()
	srv.GracefulStop()
}

// logged is a server's interceptor that logs all calls of the diff service, and of
// the snapshotter, which has many, those that failed and shouldn't.
func logged(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		began := time.Now()
		resp, err := handler(ctx, req)
		log := log.With("method", info.FullMethod, "took", time.Since(began).Round(time.Microsecond))
		switch code := status.Code(err); {
		case code == codes.Unimplemented:
			log.Info("declined", "reason", status.Convert(err).Message())
		case strings.HasPrefix(info.FullMethod, "/"+diffapi.Diff_ServiceDesc.ServiceName+"/"):
			log.Info("answered", "code", code.String(), "error", err)
		case code != codes.OK && code != codes.NotFound && code != codes.AlreadyExists && code != codes.Canceled:
			log.Warn("failed", "error", err)
		}
		return resp, err
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
