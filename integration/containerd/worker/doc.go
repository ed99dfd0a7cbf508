//go:build linux

// Package worker has a differ in a process of its own, so that whatever ends that
// process, the kernel for want of memory, say, does not end the service: a
// comparison that was under way is declined, and containerd asks its next differ.
//
// The service, a Parent, talks to the worker through a socket that only the two
// have, with containerd's own diff protocol. The worker ends when that is closed, so
// it never outlives its parent. A new one is started when there is something to do.
//
//	parent := worker.New(start, release)    // in the service
//	worker.Serve(socket, differ)            // in the process that start starts
package worker
