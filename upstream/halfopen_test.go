package upstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// dying listens on a real socket for one connection of HTTP/2, reads a part of the
// request's body, and does what play says; then the connection is closed.
func dying(t *testing.T, cfg *tls.Config, play func(conn *net.TCPConn, p *framePeer, stream uint32)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	all.Go(func() {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		conn := raw
		if cfg != nil {
			conn = tls.Server(raw, cfg)
		}
		p := &framePeer{conn, make(chan frame, 64)}
		all.Go(p.read)
		p.settings(10)
		stream := p.next(headersFrame).stream
		p.next(dataFrame)
		play(raw.(*net.TCPConn), p, stream)
	})
	return l.Addr().String()
}

// silentBody has a message, and then nothing more until it is closed; or until the
// test ends, as the body of a client on HTTP/1.1.
func silentBody(t *testing.T, closable bool) io.ReadCloser {
	t.Helper()
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	body := struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader("a message"), r), io.NopCloser(nil)}
	if closable {
		body.Closer = r
	}
	return body
}

func TestAStreamThatBreaksBeforeItsHeaderEndsTheRequestWhoseBodyDoesNot(t *testing.T) {
	t.Parallel()
	s := tlsServer(t, true, func(*tls.Config) {})
	for name, play := range map[string]func(*net.TCPConn, *framePeer, uint32){
		"closed": func(*net.TCPConn, *framePeer, uint32) {},
		"reset by TCP": func(conn *net.TCPConn, _ *framePeer, _ uint32) {
			_ = conn.SetLinger(0)
		},
		"reset by HTTP/2": func(_ *net.TCPConn, p *framePeer, stream uint32) {
			p.reset(stream, 2)
			p.next(resetFrame) // none comes: until the client hangs up
		},
	} {
		for _, scheme := range []string{"h2c", "https"} {
			for _, closable := range []bool{true, false} {
				var theirs, ours *tls.Config
				if scheme == "https" {
					theirs, ours = &tls.Config{Certificates: s.TLS.Certificates, NextProtos: []string{"h2"}}, trusting(s)
				}
				p := tlsPool(t, upstream.Config{Endpoints: []string{scheme + "://" + dying(t, theirs, play)}, TLS: ours})
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // which fails the test
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://pool/", silentBody(t, closable))
				if err != nil {
					t.Fatal(err)
				}
				_, err = p.RoundTrip(req)
				if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
					t.Errorf("%s, %s, a body that Close ends: %v: %v", name, scheme, closable, err)
				}
			}
		}
	}
}

func TestAStreamThatIsRefusedWhileItsBodyGoesOnIsSentElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		body, more := io.Pipe()
		b.frames(t, "a:80", func(n int, f *framePeer) {
			f.settings(10)
			stream := f.next(headersFrame).stream
			got := string(f.next(dataFrame).payload)
			if n == 0 {
				f.reset(stream, refusedStream)
				return
			}
			go func() { // the first attempt's Read is still there for it
				_, _ = io.WriteString(more, " and another")
				_ = more.Close()
			}()
			for {
				d := f.next(dataFrame)
				if got += string(d.payload); len(d.payload) == 0 {
					break
				}
			}
			f.answer(stream, got)
		})
		p := b.pool(t, upstream.Config{Endpoints: []string{h2, "h2c://b:80"}})
		b.mu.Lock()
		b.lines["b:80"] = b.lines["a:80"]
		b.mu.Unlock()
		go func() { _, _ = io.WriteString(more, "a message") }()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://pool/", body)
		if err != nil {
			t.Fatal(err)
		}
		res, err := p.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if text, err := io.ReadAll(res.Body); err != nil || string(text) != "a message and another" {
			t.Errorf("%q, %v", text, err)
		}
	})
}
