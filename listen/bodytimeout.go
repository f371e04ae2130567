package listen

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// timeBodies bounds how long each next part of a request's body may take until
// the response begins. Over HTTP/2 and 3 only a body of declared length has
// such a bound: another one may be one direction of an exchange that lasts. Over
// HTTP/1.1 that is said by its media type, see streamsUp.
func (s *Server) timeBodies(next http.Handler) http.Handler {
	d := s.cfg.Timeouts.Body
	if d <= 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lasts := r.ContentLength < 0 && r.ProtoMajor > 1 || r.Method == http.MethodConnect
		if r.ContentLength == 0 || lasts {
			next.ServeHTTP(w, r)
			return
		}
		b := &timedBody{body: r.Body, ctl: http.NewResponseController(w), timeout: d, left: r.ContentLength, begun: streamsUp(r)}
		// net/http never reads for itself what a client waits to be asked for.
		b.drains = r.ProtoMajor == 1 && r.Header["Expect"] == nil
		if hw, ok := w.(*h1Writer); ok {
			hw.body = b
		}
		own := *r // net/http looks at the body of its own request after the handler
		own.Body = b
		next.ServeHTTP(&bodyWriter{ResponseWriter: w, body: b, duplex: r.ProtoMajor > 1}, &own)
		r.MultipartForm = own.MultipartForm // whose files net/http removes
		b.drain()
	})
}

// streamsUp reports whether the request over HTTP/1.1 is a call whose client may
// send a message now and another hours later, before it wants an answer: one of
// Connect or gRPC-Web, of no declared length. A peer that vanished is then found by
// TCP's keep-alive, and how many connections an address may hold is bounded anyway.
// What a handler has not read is drained within the bound all the same.
func streamsUp(r *http.Request) bool {
	kind := r.Header.Get("Content-Type")
	return r.ContentLength < 0 && r.Method == http.MethodPost &&
		(strings.HasPrefix(kind, "application/connect+") || strings.HasPrefix(kind, "application/grpc-web"))
}

// timedBody is the body of a request while its response has not begun.
type timedBody struct {
	body    io.ReadCloser
	ctl     *http.ResponseController
	timeout time.Duration

	mu      sync.Mutex
	left    int64 // bytes that were declared and not read; negative if not known
	timer   *time.Timer
	reading bool // within the bound
	expired bool
	begun   bool // the response, or what has no bound before it either
	drains  bool // net/http will read what the handler does not
	ended   bool // nothing is left
}

func (b *timedBody) Read(p []byte) (int, error) {
	b.start()
	n, err := b.body.Read(p)
	b.stop(n, err)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("listen: request body: nothing came for %v: %w", b.timeout, err)
	}
	return n, err
}

// Close closes the body.
func (b *timedBody) Close() error { return b.body.Close() }

func (b *timedBody) start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.begun {
		return
	}
	b.reading = true
	if b.timer == nil {
		b.timer = time.AfterFunc(b.timeout, b.expire)
	} else {
		b.timer.Reset(b.timeout)
	}
}

func (b *timedBody) stop(n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	if b.timer != nil {
		b.timer.Stop()
	}
	if b.left >= 0 {
		b.left -= int64(n)
	}
	b.ended = b.ended || err == io.EOF
	if b.expired && !errors.Is(err, os.ErrDeadlineExceeded) {
		b.expired = false
		_ = b.ctl.SetReadDeadline(time.Time{}) // something came in the last moment
	}
}

// expire ends a Read that takes too long by a deadline in the past. That stays,
// so that nobody waits for the rest: net/http closes the connection instead.
func (b *timedBody) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reading && !b.begun {
		b.expired = true
		_ = b.ctl.SetReadDeadline(past)
	}
}

// over reports whether nothing of the body is left.
func (b *timedBody) over() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// begin takes the bound away.
func (b *timedBody) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun = true
}

// duplex says that the handler goes on reading while it answers.
func (b *timedBody) duplex() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drains = false
}

// Before it sends the header of a response, or after the handler, net/http reads
// what is left of a request's body over HTTP/1 if that is not more than this,
// however long it takes.
const maxDrain = 256 << 10

var past = time.Unix(1, 0)

// drain does that before net/http does, and in no more time than the bound of one
// part; if there is more, net/http is made to close the connection.
func (b *timedBody) drain() {
	b.mu.Lock()
	b.begun = true
	do := b.drains && !b.ended && !b.expired && b.left < maxDrain
	b.drains = false
	b.mu.Unlock()
	if !do {
		return
	}
	_ = b.ctl.SetReadDeadline(time.Now().Add(b.timeout))
	_, err := io.CopyN(io.Discard, b.body, maxDrain+1)
	switch {
	case err == io.EOF:
		b.stop(0, err)
		_ = b.ctl.SetReadDeadline(time.Time{})
	case errors.Is(err, http.ErrBodyReadAfterClose):
		_ = b.ctl.SetReadDeadline(time.Time{})
	default:
		_ = b.ctl.SetReadDeadline(past)
	}
}

// bodyWriter notes when the response to a request with a body begins.
type bodyWriter struct {
	http.ResponseWriter

	body    *timedBody
	duplex  bool // the body can be read after the response begins
	written int
}

// WriteHeader writes a header.
func (w *bodyWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.begin(0)
	}
	w.ResponseWriter.WriteHeader(status)
}

// begin takes the bound away before something is sent. Over HTTP/1 that is when
// more than 2 KiB were written, and as a rule nothing can be read after it.
func (w *bodyWriter) begin(n int) {
	const collected = 2 << 10
	w.written += n
	switch {
	case w.duplex:
		w.body.begin()
	case w.written > collected:
		w.body.drain()
	}
}

func (w *bodyWriter) Write(p []byte) (int, error) {
	w.begin(len(p))
	return w.ResponseWriter.Write(p)
}

// FlushError sends what was written.
func (w *bodyWriter) FlushError() error {
	w.begin(1 << 20)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is FlushError for those who do not ask.
func (w *bodyWriter) Flush() { _ = w.FlushError() }

// EnableFullDuplex lets the handler read while it answers over HTTP/1.
func (w *bodyWriter) EnableFullDuplex() error {
	w.duplex = true
	w.body.duplex()
	return http.NewResponseController(w.ResponseWriter).EnableFullDuplex()
}

// Hijack gives the connection to the handler.
func (w *bodyWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.body.begin()
		w.body.duplex()
	}
	return conn, rw, err
}

// Unwrap is for http.ResponseController.
func (w *bodyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
