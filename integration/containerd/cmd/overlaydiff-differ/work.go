//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	leasesproxy "github.com/containerd/containerd/v2/core/leases/proxy"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/overlaydiff/overlaydiff/integration/containerd/differ"
	"github.com/overlaydiff/overlaydiff/integration/containerd/worker"
)

// workerName is the first argument of the process that does the work.
const workerName = "worker"

// work is that process. Its parent ends it; signals to both are the parent's.
func work(log *slog.Logger, s settings) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	conn, err := dial(s.containerd)
	if err != nil {
		return err
	}
	d := differ.New(contentproxy.NewContentStore(conn), leasesproxy.NewLeaseManager(leasesapi.NewLeasesClient(conn)), differ.Options{
		Xattrs: s.xattrs,
		OnCompare: func(c differ.Compared) {
			log.Info("made a layer", "engine", c.Engine, "reason", c.Reason, "entries", c.Exported.Entries, "digest", c.Exported.Descriptor.Digest,
				"diff_id", c.Exported.DiffID, "inexpressible", c.Exported.Inexpressible, "raced", c.Raced)
		},
	})
	return errors.Join(worker.Serve(os.NewFile(3, "parent"), d), conn.Close())
}

// workerCommand returns the command of a worker.
func workerCommand(s settings) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", workerName, "-containerd", s.containerd, "-xattrs", string(s.xattrs))
	cmd.Stderr = os.Stderr
	return cmd
}

// dial returns a client of containerd, which need not run yet.
func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize), grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize)))
}

// releaser returns what takes back an upload whose writer was killed.
func releaser(conn grpc.ClientConnInterface) func(ctx context.Context, ref string) error {
	store := contentapi.NewContentClient(conn)
	return func(ctx context.Context, ref string) error {
		ctx, cancel := context.WithTimeout(ctx, releaseWithin)
		defer cancel()
		if err := awaitFree(ctx, store, ref); err != nil {
			return err
		}
		_, err := store.Abort(ctx, &contentapi.AbortRequest{Ref: ref})
		if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
			err = nil
		}
		return err
	}
}

// awaitFree waits until the content store has noticed that the writer of a reference
// is gone: it opens an upload itself, and sees that one end.
func awaitFree(ctx context.Context, store contentapi.ContentClient, ref string) error {
	for {
		err := openAndClose(ctx, store, ref)
		if err == nil {
			return nil
		}
		if !errdefs.IsUnavailable(errgrpc.ToNative(err)) {
			return fmt.Errorf("open the upload %s: %w", ref, err)
		}
		if err := sleep(ctx, releaseEvery); err != nil {
			return fmt.Errorf("wait for the upload %s to be free: %w", ref, err)
		}
	}
}

func openAndClose(ctx context.Context, store contentapi.ContentClient, ref string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	session, err := store.Write(ctx)
	if err != nil {
		return err
	}
	if err := session.Send(&contentapi.WriteContentRequest{Action: contentapi.WriteAction_STAT, Ref: ref}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := session.Recv(); err != nil {
		return err
	}
	if err := session.CloseSend(); err != nil {
		return err
	}
	for err == nil {
		_, err = session.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
