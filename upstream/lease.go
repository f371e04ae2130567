package upstream

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// lease is one request on one connection, until its response has been read or
// closed. It is the response's body.
type lease struct {
	m       *member
	c       *conn
	in      *http.Request // whose context ends with its caller
	body    io.ReadCloser
	started time.Time
	short   bool            // what is left of the response may be worth reading for the connection's sake
	stop    func() bool     // ResponseTimeout's timer; nil: none
	cancel  func()          // of the attempt's context; nil: it is the caller's
	stream  *stream         // HTTP/2
	ctx     context.Context //nolint:containedctx // the attempt's, whose cause tells why it ended
	over    atomic.Bool
}

// answer puts the lease around a response.
func (l *lease) answer(res *http.Response) {
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		if rw, ok := res.Body.(io.ReadWriteCloser); ok {
			l.m.upgrade(l.c)
			l.body = res.Body
			res.Body = &upgradedBody{rw, l}
			return
		}
	case (res.Close || res.Request.Close) && !l.c.http2:
		l.m.lastOf(l.c)
	case !l.c.http2:
		if v := keepAlive(res); v != "" {
			l.m.promised(v)
		}
	}
	if res.Body == nil || res.Body == http.NoBody {
		l.end(completed)
		return
	}
	l.in = res.Request
	l.short = res.ContentLength <= drainBytes && !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream")
	l.body = res.Body
	res.Body = l
}

// Read reads the response's body. Its end frees the connection, before the
// caller has read that it was the end.
func (l *lease) Read(p []byte) (int, error) {
	n, err := l.body.Read(p)
	switch {
	case err == nil:
	case err == io.EOF:
		l.end(completed)
	case l.in.Context().Err() != nil:
		l.end(abandoned)
	default:
		l.end(failed)
	}
	return n, err
}

// Close closes the response's body. A short rest of it is read for the
// connection's sake; with a longer one, HTTP/1.1's connection is closed.
func (l *lease) Close() error {
	if l.over.Load() {
		return l.body.Close()
	}
	if !l.c.http2 {
		if l.short && drainRest(l.body, l.c.socket.SetReadDeadline) {
			l.end(completed)
		} else {
			l.m.abandon(l.c)
		}
	}
	err := l.body.Close()
	l.end(abandoned)
	return err
}

// end ends the lease, once.
func (l *lease) end(how result) {
	if l.over.Swap(true) {
		return
	}
	l.m.load.end()
	if !l.c.spare {
		l.m.pool.meter.end(time.Now())
	}
	l.m.release(l.c, how)
	if l.stop != nil {
		l.stop()
	}
	if l.stream != nil {
		l.stream.timer.Stop()
	}
	if l.cancel != nil {
		l.cancel()
	}
}

// upgradedBody is the connection after a 101 (RFC 9110 §15.2.2).
type upgradedBody struct {
	io.ReadWriteCloser

	l *lease
}

// Close closes the connection.
func (b *upgradedBody) Close() error {
	err := b.ReadWriteCloser.Close()
	b.l.end(abandoned)
	return err
}

// CloseWrite ends one direction, where the connection can.
func (b *upgradedBody) CloseWrite() error {
	if w, ok := b.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return http.ErrNotSupported
}
