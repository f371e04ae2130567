package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxHealthBody is how many bytes are read of the answer to a check.
const maxHealthBody = 4 << 10

// validate says what is wrong with h, whose zero fields mean their defaults.
func (h Health) validate() error {
	switch h.Kind {
	case "", "http", "tcp", "grpc":
	default:
		return fmt.Errorf("upstream: health: there is no kind %q; it is http, tcp or grpc", h.Kind)
	}
	checksPath := h.Kind == "" || h.Kind == "http"
	if h.Path != "" {
		if !strings.HasPrefix(h.Path, "/") || strings.Contains(h.Path, "#") {
			return fmt.Errorf("upstream: health: the path %q must begin with / and have no fragment, like /healthz", h.Path)
		}
		if _, err := url.ParseRequestURI(h.Path); err != nil {
			return fmt.Errorf("upstream: health: the path %q cannot be asked for; escape what is special, like /healthz?full=1%%20", h.Path)
		}
		if h.Path != "/" && !checksPath {
			return fmt.Errorf("upstream: health: a %s check asks for no path; remove %s or set the kind to http", h.Kind, h.Path)
		}
	}
	if h.Service != "" && h.Kind != "grpc" {
		return fmt.Errorf("upstream: health: the service %q is what a gRPC check asks about; set the kind to grpc or remove it", h.Service)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"interval", h.Interval}, {"interval while unhealthy", h.UnhealthyInterval}, {"timeout", h.Timeout}} {
		if d.value < time.Millisecond && d.value != 0 {
			return fmt.Errorf("upstream: health: the %s of %v is shorter than 1ms; use a longer one, like 5s, or leave it out for the default", d.name, d.value)
		}
	}
	if h.Unhealthy < 0 || h.Healthy < 0 {
		return fmt.Errorf("upstream: health: %d failed or %d good checks in a row cannot be counted; they are 1 or more", h.Unhealthy, h.Healthy)
	}
	if h.Interval > 0 && h.Timeout > h.Interval {
		return fmt.Errorf("upstream: health: the timeout of %v is longer than the interval of %v; make it at most that, or the interval longer", h.Timeout, h.Interval)
	}
	return nil
}

// checker asks one endpoint how it is. An endpoint counts as healthy until
// cfg.Unhealthy checks in a row have failed, and again when cfg.Healthy in a
// row have succeeded.
//
// Each check makes a connection of its own and closes it: it thereby also
// sees whether the endpoint still accepts, and never meets one that the
// endpoint is about to close for being idle.
type checker struct {
	cfg      Health // with its defaults, and a Kind
	endpoint Endpoint
	tls      *tls.Config                                 // for https, cloned for each check; may be nil
	dial     func(ctx context.Context) (net.Conn, error) // a raw connection to the endpoint
	report   func(healthy bool, why string)              // called by run when the state changes
}

// run checks until ctx ends, and returns when the check that was under way
// has ended. The first comes within a tenth of the interval. Intervals count
// from the start of a check to that of the next, which never overlap.
func (c *checker) run(ctx context.Context) {
	healthy, against := true, 0 // against: checks in a row that contradict the state
	next := time.NewTimer(rand.N(c.cfg.Interval/10 + 1))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		began := time.Now()
		err := c.check(ctx)
		if ctx.Err() != nil {
			return // the check may have failed for that
		}
		against++
		switch {
		case healthy == (err == nil):
			against = 0
		case healthy && against >= c.cfg.Unhealthy:
			healthy, against = false, 0
			c.report(false, inARow(c.cfg.Unhealthy, "failed")+": "+err.Error())
		case !healthy && against >= c.cfg.Healthy:
			healthy, against = true, 0
			c.report(true, inARow(c.cfg.Healthy, "succeeded"))
		}
		interval := c.cfg.Interval
		if !healthy {
			interval = c.cfg.UnhealthyInterval
		}
		next.Reset(max(0, jitter(interval)-time.Since(began)))
	}
}

func inARow(n int, what string) string {
	if n == 1 {
		return "a check " + what
	}
	return fmt.Sprintf("%d checks in a row %s", n, what)
}

// check returns nil if the endpoint is well, and else what an operator wants
// to know. It does not name the endpoint.
func (c *checker) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	stage, err := c.ask(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: no answer within %g s", stage, c.cfg.Timeout.Seconds())
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: the server closed the connection before it had answered", stage)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op != "remote error" { // a TLS alert
		err = op.Err // without the address, which the event has
	}
	return fmt.Errorf("%s: %w", stage, err)
}

// ask makes one check and tells how far it came.
func (c *checker) ask(ctx context.Context) (stage string, err error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return "dial", err
	}
	defer hangUp(conn)
	if c.endpoint.Scheme == "https" {
		over := tls.Client(conn, c.tlsConfig())
		if err := over.HandshakeContext(ctx); err != nil {
			return "TLS handshake", plainError{err}
		}
		conn = over
	}
	if c.cfg.Kind == "tcp" {
		return "", nil
	}

	if c.cfg.Kind == "grpc" {
		return "gRPC health check", c.askGRPC(ctx, conn)
	}
	return "GET " + c.cfg.Path, c.askHTTP(ctx, conn)
}

func (c *checker) tlsConfig() *tls.Config {
	cfg := c.tls.Clone() // of nil: nil
	if cfg == nil {
		cfg = new(tls.Config)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = (&url.URL{Host: c.endpoint.Host}).Hostname()
	}
	cfg.NextProtos = []string{"h2", "http/1.1"}
	if c.cfg.Kind == "grpc" {
		cfg.NextProtos = []string{"h2"}
	}
	return cfg
}

// askHTTP sends GET Path with the endpoint's Host. The base path of the
// endpoint is not put before Path: what tells how a server is stands at its
// root, beside what it serves. A redirect is an answer, and is not followed;
// an answer that breaks off is none.
func (c *checker) askHTTP(ctx context.Context, conn net.Conn) error {
	u, err := url.ParseRequestURI(c.cfg.Path)
	if err != nil {
		return err
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Header: make(http.Header)}
	return c.exchange(req.WithContext(ctx), conn, func(res *http.Response) error {
		if res.StatusCode < 200 || res.StatusCode > 399 {
			return fmt.Errorf("%d %s", res.StatusCode, http.StatusText(res.StatusCode))
		}
		if _, err := io.Copy(io.Discard, io.LimitReader(res.Body, maxHealthBody)); err != nil {
			return plainError{err}
		}
		return nil
	})
}

// hangUp closes a raw connection of a check that is over, maybe again. It comes
// before any Close above it, so that TLS, which has up to 5 s to say goodbye,
// does not wait for a peer that reads nothing.
func hangUp(raw net.Conn) { _ = raw.Close() }

// exchange sends req over conn, which it closes, and hands the response to
// read. It speaks HTTP/2 to h2c endpoints, to https ones that have chosen it,
// and for gRPC.
func (c *checker) exchange(req *http.Request, conn net.Conn, read func(*http.Response) error) error {
	req.URL.Scheme, req.URL.Host = "http", c.endpoint.Host
	if c.endpoint.Scheme == "https" {
		req.URL.Scheme = "https"
	}
	req.Header.Set("User-Agent", "fairlead-health")
	given := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	t := &http.Transport{
		DialContext:            given,
		DialTLSContext:         given,
		Protocols:              new(http.Protocols),
		DisableCompression:     true,
		DisableKeepAlives:      true, // says Connection: close
		MaxResponseHeaderBytes: 64 << 10,
	}
	h2c := c.endpoint.Scheme != "https" && (c.endpoint.Scheme == "h2c" || c.cfg.Kind == "grpc")
	t.Protocols.SetUnencryptedHTTP2(h2c)
	t.Protocols.SetHTTP2(!h2c)
	t.Protocols.SetHTTP1(!h2c)

	raw := conn
	if over, ok := conn.(*tls.Conn); ok {
		raw = over.NetConn()
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(req.Context(), func() { // net/http greets an HTTP/2 peer without regard to the context
		defer close(closed)
		hangUp(raw)
	})
	defer func() {
		if !stop() {
			<-closed
		}
	}()
	cc, err := t.NewClientConn(req.Context(), req.URL.Scheme, "endpoint:0") // conn has the address
	if err != nil {
		return plainError{err}
	}
	defer func() {
		hangUp(raw)
		_ = cc.Close() // of a check that is over
	}()
	res, err := cc.RoundTrip(req)
	if err != nil {
		return plainError{err}
	}
	defer res.Body.Close()
	defer hangUp(raw)
	return read(res)
}
