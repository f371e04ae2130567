package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// Pool is an [http.RoundTripper] over the endpoints of one upstream. It is
// safe for concurrent use.
type Pool struct {
	endpoints []connected
	turn      atomic.Uint64
}

// connected is an endpoint and its connections.
type connected struct {
	Endpoint

	transport *http.Transport
}

// New returns a Pool; it connects when the first request comes. The error
// says which endpoint is wrong.
func New(cfg Config) (*Pool, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("upstream: there is no endpoint; name at least one, like http://127.0.0.1:9000")
	}
	cfg = cfg.withDefaults()
	p := &Pool{endpoints: make([]connected, len(cfg.Endpoints))}
	for i, s := range cfg.Endpoints {
		e, err := ParseEndpoint(s)
		if err != nil {
			return nil, err
		}
		p.endpoints[i] = connected{e, newTransport(e, cfg.Connections.DialTimeout)}
	}
	return p, nil
}

// Endpoints returns the endpoints, in the order of Config.
func (p *Pool) Endpoints() []Endpoint {
	all := make([]Endpoint, len(p.endpoints))
	for i := range p.endpoints {
		all[i] = p.endpoints[i].Endpoint
	}
	return all
}

// RoundTrip sends req to the endpoint whose turn it is. Scheme and host of
// req.URL are replaced by the endpoint's, and its base path is put before
// the path; req.Host is sent if it is set, else the endpoint's. When no
// connection can be made the next endpoint is tried, each once, unless req's
// body has been read from.
func (p *Pool) RoundTrip(req *http.Request) (*http.Response, error) {
	body := newKeptBody(req.Body)
	first := p.turn.Add(1) - 1
	var failures []error
	for i := range uint64(len(p.endpoints)) {
		e := &p.endpoints[(first+i)%uint64(len(p.endpoints))]
		out := req.WithContext(req.Context()) // a copy: a RoundTripper must not change its request
		out.URL = e.target(req.URL)
		if body != nil {
			out.Body = body
		}
		res, err := e.transport.RoundTrip(out)
		if err == nil {
			body.settle()
			return res, nil
		}
		failures = append(failures, fmt.Errorf("upstream: %s: %w", e, err))
		if !isDialError(err) || req.Context().Err() != nil || !body.untouched() {
			break
		}
	}
	body.settle()
	return nil, errors.Join(failures...)
}

// Close ends the idle connections, and each other one when its request is
// over. The Pool remains usable.
func (p *Pool) Close() {
	for i := range p.endpoints {
		p.endpoints[i].transport.CloseIdleConnections()
	}
}

// keptBody keeps a request's body open for a further attempt: a transport
// closes it even when it could not connect. Its methods may be called on nil,
// a request without a body.
type keptBody struct {
	body io.ReadCloser

	mu      sync.Mutex
	read    bool
	closed  bool // by the transport, while another attempt was possible
	settled bool // no further attempt: a close is a close
}

func newKeptBody(body io.ReadCloser) *keptBody {
	if body == nil || body == http.NoBody {
		return nil
	}
	return &keptBody{body: body}
}

// Read reads the request's body.
func (b *keptBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.read = true
	b.mu.Unlock()
	return b.body.Read(p)
}

// Close closes the request's body, at the latest when the attempts are over.
func (b *keptBody) Close() error {
	b.mu.Lock()
	b.closed = true
	settled := b.settled
	b.mu.Unlock()
	if settled {
		return b.body.Close()
	}
	return nil
}

func (b *keptBody) untouched() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.read
}

// settle says that there will be no further attempt.
func (b *keptBody) settle() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.settled = true
	closed := b.closed
	b.mu.Unlock()
	if closed {
		_ = b.body.Close() // of a request that is over; nobody reads it
	}
}
