package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// errSilent means that the server sent nothing for Config.IdleTimeout.
var errSilent = errors.New("client: the server fell silent")

// watch ends a connection through cancel when a read waits too long. Any byte
// is a sign of life, and the time between two reads, which is the consumer's,
// does not count.
type watch struct {
	timer *time.Timer
	idle  time.Duration
}

// newWatch returns a watch that runs already, for the answer's header.
func newWatch(idle time.Duration, cancel context.CancelCauseFunc) *watch {
	return &watch{idle: idle, timer: time.AfterFunc(idle, func() {
		cancel(fmt.Errorf("%w for %s", errSilent, idle))
	})}
}

func (w *watch) stop() { w.timer.Stop() }

func (w *watch) read(r io.Reader, p []byte) (int, error) {
	w.timer.Reset(w.idle)
	defer w.timer.Stop()
	return r.Read(p)
}

// watchedBody is a response's body under a watch.
type watchedBody struct {
	io.ReadCloser
	watch *watch
}

func (b watchedBody) Read(p []byte) (int, error) { return b.watch.read(b.ReadCloser, p) }

// watchedConn is a connection under a watch.
type watchedConn struct {
	net.Conn
	watch *watch
}

func (c watchedConn) Read(p []byte) (int, error) { return c.watch.read(c.Conn, p) }
