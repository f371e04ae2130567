package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
)

// relay carries an upgraded connection until it ends.
func (x *exchange) relay(ctx context.Context, protocol string, client, upstream io.ReadWriteCloser) error {
	if f := x.h.cfg.Relay; f != nil && isWebSocket(protocol) {
		return f(ctx, client, upstream)
	}
	return x.h.splice(ctx, client, upstream)
}

func isWebSocket(protocol string) bool { return strings.EqualFold(protocol, "websocket") }

// splice copies bytes both ways. The end of one direction is passed on as a
// half-close, or ends both where there is no such thing; an error ends both.
func (h *Handler) splice(ctx context.Context, client, upstream io.ReadWriteCloser) error {
	closeBoth := func() {
		_ = client.Close()
		_ = upstream.Close()
	}
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	var (
		wg   sync.WaitGroup
		errs [2]error
	)
	for i, ends := range [][2]io.ReadWriteCloser{{client, upstream}, {upstream, client}} {
		wg.Go(func() {
			buf := h.buffers.Get()
			defer h.buffers.Put(buf)
			// The bare interfaces keep io.CopyBuffer to the buffer it was given.
			_, err := io.CopyBuffer(struct{ io.Writer }{ends[1]}, struct{ io.Reader }{ends[0]}, buf)
			if err == nil {
				err = closeWrite(ends[1])
			}
			if err != nil {
				errs[i] = err
				closeBoth()
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	for _, err := range errs {
		if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return nil
}

// link is one relay in flight.
type link struct {
	cancel   context.CancelFunc
	upstream io.Closer

	mu     sync.Mutex
	client io.Closer // nil until the client's connection is ours
	cut    bool
}

func (l *link) setClient(c io.Closer) {
	l.mu.Lock()
	l.client = c
	cut := l.cut
	l.mu.Unlock()
	if cut {
		_ = c.Close()
	}
}

// sever closes both ends without a word.
func (l *link) sever() {
	l.mu.Lock()
	l.cut = true
	client := l.client
	l.mu.Unlock()
	_ = l.upstream.Close()
	if client != nil {
		_ = client.Close()
	}
}

// relays are those in flight; as many as the server allows connections.
type relays struct {
	mu     sync.Mutex
	links  map[*link]struct{}
	closed bool
	idle   chan struct{} // closed when closed and empty; nil until closed
}

// add reports whether l may begin.
func (r *relays) add(l *link) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	if r.links == nil {
		r.links = make(map[*link]struct{})
	}
	r.links[l] = struct{}{}
	return true
}

func (r *relays) remove(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.links, l)
	if r.closed && len(r.links) == 0 {
		close(r.idle)
	}
}

func (r *relays) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.links)
}

// snapshot returns the relays in flight.
func (r *relays) snapshot() []*link {
	r.mu.Lock()
	defer r.mu.Unlock()
	links := make([]*link, 0, len(r.links))
	for l := range r.links {
		links = append(links, l)
	}
	return links
}

// close cancels the relays and waits for them; when ctx ends first, it
// severs them.
func (r *relays) close(ctx context.Context) error {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		r.idle = make(chan struct{})
		if len(r.links) == 0 {
			close(r.idle)
		}
	}
	idle := r.idle
	r.mu.Unlock()

	links := r.snapshot()
	for _, l := range links {
		l.cancel()
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	for _, l := range links {
		l.sever()
	}
	<-idle
	return ctx.Err()
}
