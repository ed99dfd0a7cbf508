//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// listen returns the socket that systemd hands over, or makes one at path, in a
// directory that is made if it is missing. Only root can connect to it: it has mode
// 0600 from the beginning. What a killed server has left there is replaced; a server
// that runs is an error.
func listen(path string) (net.Listener, error) {
	if l, err := handedOver(); l != nil || err != nil {
		return l, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen on %s: another server does; end it, or name another -address", path)
	} else if fi, stat := os.Lstat(path); errors.Is(err, syscall.ECONNREFUSED) && stat == nil && fi.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("listen on %s: take away what a killed server left: %w", path, err)
		}
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var mode error
		err := c.Control(func(fd uintptr) { mode = syscall.Fchmod(int(fd), 0o600) }) // bind gives it to the name
		return errors.Join(err, mode)
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// handedOver returns the socket of a systemd socket unit, nil without one. See
// sd_listen_fds(3).
func handedOver() (net.Listener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	if n := os.Getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("systemd hands over %s sockets: one is wanted", n)
	}
	f := os.NewFile(3, "systemd")
	defer f.Close()
	return net.FileListener(f)
}
