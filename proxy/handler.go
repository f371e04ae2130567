package proxy

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// Config says where a Handler forwards to, and how.
type Config struct {
	// Target is the upstream: scheme http or https, host, and an optional base
	// path and query that are put before those of the request. Required.
	Target *url.URL

	// Transport carries the requests. It must not decode bodies, so an
	// [http.Transport] needs DisableCompression. An error that wraps a
	// [fairlead.Error] is answered with its code; one that wraps
	// [http.ErrAbortHandler] aborts the client's connection without an answer.
	// nil: [NewTransport].
	Transport http.RoundTripper

	// PreserveHost sends the client's Host upstream. false: Target's.
	PreserveHost bool

	// Hosts are the authorities, such as "api.example.com", that a request in
	// absolute form may name besides Target's host and the local address of
	// its connection; for others it is refused with 421. Requests in the usual
	// origin form are not checked. nil: no further ones.
	Hosts []string

	// TrustedProxies are the peers whose Forwarded and X-Forwarded-* headers
	// are kept and extended; those of other peers are removed. nil: no peer.
	TrustedProxies []netip.Prefix

	// CheckOrigin reports whether an upgrade request may come from the Origin
	// it names; if not, it is refused with 403. nil: all may, since the
	// upstream sees the Origin and is the one to judge.
	CheckOrigin func(*http.Request) bool

	// WriteTimeout bounds each write of a response to the client, of at most
	// 32 KiB, and each flush. One that takes longer breaks the response off, as
	// if the client had gone; a stream that is idle is not touched. A writer
	// that knows no deadline ([http.ResponseController]) is not bounded.
	// Default 60 s; negative: none.
	WriteTimeout time.Duration

	// Relay carries a WebSocket between two ends that have both done their
	// handshake, until it returns. Its ctx ends with [Handler.Close], and on
	// HTTP/1.1 with the request; both ends are closed after it returns, and it
	// must return once they are closed. On HTTP/1.1 client is a [net.Conn]; on
	// HTTP/2 and HTTP/3 it has its deadlines, and the client sees an error of
	// Relay as a reset. nil: bytes are copied, as for any other protocol,
	// through one 32 KiB buffer each way.
	Relay func(ctx context.Context, client, upstream io.ReadWriteCloser) error

	// OnError answers a request that got no response. err wraps the
	// [fairlead.Error] that tells the cause. It is not called for a client
	// that has gone. nil: [Problem].
	OnError func(w http.ResponseWriter, r *http.Request, err error)

	// Observe is told of each exchange when it is over, on the goroutine that
	// served it; it must not block. nil: nobody is.
	Observe func(Outcome)
}

// Outcome is what became of one exchange.
type Outcome struct {
	// Request is the client's request. Its body must not be read.
	Request *http.Request
	// Status is the status that the client was sent; 0: none.
	Status int
	// Wait is from the request's arrival to the upstream's header, or to the
	// failure to get one.
	Wait time.Duration
	// Total is from the request's arrival to the end of the exchange; for an
	// upgrade, to the end of the relay.
	Total time.Duration
	// Err wraps a [fairlead.Error] unless all went well. Code Cancelled: the
	// client went away; Fault: the upstream's body broke off.
	Err error
}

// Handler forwards requests. Create it with [New]; it is safe for concurrent
// use.
type Handler struct {
	cfg       Config
	invalid   error // why no request can be forwarded
	relays    relays
	transfers transfers
	buffers   bufferPool
}

// New returns a Handler. One whose Target is unusable answers every request
// with a 500 that says why.
func New(cfg Config) *Handler {
	h := &Handler{cfg: cfg}
	if cfg.Transport == nil {
		h.cfg.Transport = NewTransport()
	}
	if cfg.WriteTimeout == 0 {
		h.cfg.WriteTimeout = 60 * time.Second
	}
	if t := cfg.Target; t == nil || t.Host == "" || t.Scheme != "http" && t.Scheme != "https" {
		h.invalid = fairlead.Errorf(fairlead.Internal,
			"proxy: target: not an http or https URL with a host: set Config.Target to one, such as http://localhost:9000")
	}
	return h
}

// ServeHTTP forwards r and its response. It panics with
// [http.ErrAbortHandler], which net/http expects, when the response broke off
// or the client has gone, so that neither is taken for an end.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{h: h, w: w, in: r}
	x.stall.w, x.stall.timeout = http.NewResponseController(w), h.cfg.WriteTimeout
	if h.cfg.Observe != nil {
		x.started = time.Now()
		defer x.observe()
	}
	defer h.transfers.remove(&x.transfer)
	if err := h.admit(x); err != nil {
		x.fail(err)
		return
	}
	stop, err := x.admitCall()
	defer stop()
	if err != nil {
		x.fail(err)
		return
	}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		// An error means a writer that cannot, and that forwards as before.
		if x.stall.w.EnableFullDuplex() == nil {
			defer x.closeUpload()
		}
	}
	p := httputil.ReverseProxy{
		Rewrite:       x.rewrite,
		Transport:     x,
		FlushInterval: flushKnownLength,
		BufferPool:    &h.buffers,
		ErrorHandler:  x.handleError,
		ErrorLog:      silent, // errors go to Observe
	}
	if len(w.Header()) != 0 {
		x.outer = w.Header().Clone()
	}
	switch {
	case x.key != "":
		r = x.bridged()
	case x.due != nil:
		r = r.WithContext(x.due)
	}
	p.ServeHTTP(x, r)
	x.finish()
	if x.err != nil && x.status != 0 && x.broken {
		panic(http.ErrAbortHandler)
	}
}

// flushKnownLength is how long a byte of a response of known length may wait
// for more: long enough for a small answer to be complete and go out in one
// write, short enough that nobody sees it.
const flushKnownLength = 10 * time.Millisecond

var silent = log.New(io.Discard, "", 0)

// Close ends the relays of upgraded connections: it cancels the context of
// each, refuses new upgrades with 503, and waits until all have returned.
// When ctx ends first, it closes their connections, waits for them still, and
// returns ctx's error. Other requests go on. It may be called again.
func (h *Handler) Close(ctx context.Context) error {
	if err := h.relays.close(ctx); err != nil {
		return errors.Join(errors.New("proxy: close: relays were cut off"), err)
	}
	return nil
}

// Relays returns how many upgraded connections are being relayed.
func (h *Handler) Relays() int { return h.relays.len() }

// bufferPool lends the buffers of bodies and raw relays.
type bufferPool struct{ pool sync.Pool }

// bufferSize is the default of io.Copy: larger ones do not pay for streams,
// whose reads are short.
const bufferSize = 32 << 10

func (b *bufferPool) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return new([bufferSize]byte)[:]
}

func (b *bufferPool) Put(p []byte) { b.pool.Put((*[bufferSize]byte)(p)) }
