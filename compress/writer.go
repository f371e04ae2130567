package compress

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// writer is the response as the handler writes it.
type writer struct {
	http.ResponseWriter

	h    *handler
	r    *http.Request
	plan plan

	status  int // 0: none yet
	state   state
	pending []byte // the body so far, while it may turn out to be small

	coder  coder
	held   int64 // of the budget
	before int64
	after  int64
}

// state is how far the decision on the coding has come.
type state int

const (
	unknown state = iota // no header yet
	waiting              // the body may be small; nothing has been sent
	plain                // it is sent as it is
	coding
)

var writers = sync.Pool{New: func() any { return new(writer) }}

func (w *writer) begin(h *handler, to http.ResponseWriter, r *http.Request) {
	*w = writer{ResponseWriter: to, h: h, r: r, pending: w.pending[:0]}
}

// Unwrap lets an http.ResponseController set deadlines. What it would flush or
// hijack it finds here.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader decides on the coding, or that the body decides. Interim
// responses pass.
func (w *writer) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status != 0 {
		w.ResponseWriter.WriteHeader(status) // the server says what is wrong with it
		return
	}
	w.status = status
	header := w.Header()
	if status == http.StatusNotModified {
		keepWeak(header, w.r)
	}
	if !w.worth(status, header) {
		w.sendPlain()
		return
	}
	if w.plan = w.h.choose(w.r, header); w.plan.reason != "no-transform" {
		vary(header, "Accept-Encoding")
	}
	length, known := contentLength(header)
	switch {
	case w.plan.coding == "":
		w.sendPlain()
	case known && length < int64(w.h.cfg.MinSize):
		w.plan = plan{reason: "small"}
		w.sendPlain()
	case w.r.Method == http.MethodHead:
		if known {
			recode(header, w.plan.coding)
		}
		w.state = plain
		w.ResponseWriter.WriteHeader(status)
	case known || isEvents(header):
		w.start(!known)
	default:
		w.state = waiting
	}
}

// worth reports whether a response has a body of which coding makes a smaller
// one that is still the same to the client.
func (w *writer) worth(status int, header http.Header) bool {
	switch {
	case status == http.StatusSwitchingProtocols, status == http.StatusNoContent, status == http.StatusResetContent,
		status == http.StatusNotModified, status == http.StatusPartialContent:
		return false
	case header.Get("Content-Range") != "":
		return false
	}
	if c := header.Get("Content-Encoding"); c != "" && !strings.EqualFold(c, "identity") {
		return false
	}
	return w.h.codable(header.Get("Content-Type"))
}

// Write codes p, or keeps it until there is enough to be worth it.
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.before += int64(len(p))
	switch w.state {
	case coding:
		return w.coder.Write(p)
	case waiting:
		if w.pending = append(w.pending, p...); len(w.pending) >= w.h.cfg.MinSize {
			if err := w.start(false); err != nil {
				return 0, err
			}
		}
		return len(p), nil
	default:
		n, err := w.ResponseWriter.Write(p)
		w.after += int64(n)
		return n, err
	}
}

// FlushError sends what was written, through the coder. A response that is
// flushed before it is large enough to be worth coding is a stream.
func (w *writer) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.state == waiting {
		if err := w.start(true); err != nil {
			return err
		}
	}
	if w.state == coding {
		if err := w.coder.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is FlushError for those who ask for an http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() }

// start begins to code, unless the budget is used up.
func (w *writer) start(stream bool) error {
	c, size := w.plan.make(stream)
	if !w.h.cfg.Budget.take(size) {
		release(c)
		w.plan = plan{reason: "no memory"}
		return w.sendPlain()
	}
	recode(w.Header(), w.plan.coding)
	w.state, w.coder, w.held = coding, c, size
	c.Reset((*sink)(w))
	w.ResponseWriter.WriteHeader(w.status)
	if len(w.pending) == 0 {
		return nil
	}
	_, err := c.Write(w.pending)
	return err
}

// sendPlain sends the header and what is pending.
func (w *writer) sendPlain() error {
	w.state = plain
	w.ResponseWriter.WriteHeader(w.status)
	if len(w.pending) == 0 {
		return nil
	}
	n, err := w.ResponseWriter.Write(w.pending)
	w.after += int64(n)
	return err
}

// sink is where a coder writes to.
type sink writer

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.ResponseWriter.Write(p)
	s.after += int64(n)
	return n, err
}

// end completes the response, but not one whose handler has given up: nothing
// may look like its end.
func (w *writer) end(finished bool) {
	if finished {
		if w.status == 0 && w.r.Method == http.MethodHead {
			w.WriteHeader(http.StatusOK) // its header is that of a GET
		}
		switch w.state {
		case waiting:
			w.plan = plan{reason: "small"}
			_ = w.sendPlain() // a client that has gone needs no answer
		case coding:
			_ = w.coder.Close() // likewise
		case unknown, plain:
		}
	}
	if w.coder != nil {
		release(w.coder)
		w.h.cfg.Budget.give(w.held)
	}
	if w.h.cfg.Observe != nil && (w.plan.coding != "" || w.plan.reason != "") {
		w.h.cfg.Observe(Outcome{Coding: w.plan.coding, Reason: w.plan.reason, Before: w.before, After: w.after})
	}
	*w = writer{pending: w.pending[:0]}
}

// release gives a coder back to its pool, if it is from one.
func release(c coder) {
	if p, ok := c.(*pooled); ok {
		p.free()
	}
}

func isEvents(header http.Header) bool {
	return strings.HasPrefix(strings.ToLower(header.Get("Content-Type")), "text/event-stream")
}

func contentLength(header http.Header) (n int64, known bool) {
	n, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	return n, err == nil
}
