package compress

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"
)

// writer is the response as the handler writes it. It is used once: what the
// handler may have left behind cannot write into another client's response.
type writer struct {
	http.ResponseWriter

	h    *handler
	r    *http.Request
	plan plan

	state   state
	status  int
	least   int64       // bytes of a body that is coded
	length  int64       // of the body, as its header says; -1: it does not
	first   http.Header // while waiting: the header when the handler decided on it
	pending *[]byte     // while waiting: the body so far, shorter than least

	coder  *pooled
	held   int64 // of the budget
	before int64
	after  int64
	gone   bool // a write to the client failed

	spent Progress // since that was told
}

// state is how far the decision on the coding has come.
type state int

const (
	unknown  state = iota // no header yet
	waiting               // the body may be small; nothing has been sent
	plain                 // it is sent as it is
	coding                // it is sent coded
	bodiless              // it is that of a HEAD, whose header says it is coded
	over                  // the handler has returned
)

var errOver = errors.New("compress: write: the handler has returned")

// Unwrap lets an http.ResponseController set deadlines. What it would flush it
// finds here.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader decides on the coding, or that the body decides. Interim
// responses pass.
func (w *writer) WriteHeader(status int) {
	switch {
	case w.state == waiting: // the first one counts
	case w.state != unknown, status < 200 && status != http.StatusSwitchingProtocols:
		w.ResponseWriter.WriteHeader(status) // of a second one the server says what is wrong
	default:
		w.decide(status)
		w.keepHeader()
	}
}

// decide decides on the coding, or that the body decides.
func (w *writer) decide(status int) {
	w.status = status
	header := w.Header()
	if status == http.StatusNotModified {
		w.h.notModified(header, w.r)
	}
	if hasBody(status) && isWhole(header) {
		w.plan = w.h.choose(w.r, header)
	}
	if w.least = int64(w.h.cfg.MinSize); w.plan.must {
		w.least = 1
	}
	w.length = contentLength(header)
	whole := w.length >= 0
	switch {
	case w.plan.codec == nil:
		w.sendHeader(plain)
	case whole && w.length < w.least:
		w.plan = plan{reason: "small"}
		w.sendHeader(plain)
	case w.r.Method == http.MethodHead && (whole || isEvents(header)):
		w.sendHeader(bodiless)
	case whole || isEvents(header):
		_ = w.begin(!whole) // there is no body yet that it could fail to write
	default:
		w.state = waiting
	}
}

// hasBody reports whether responses of a status have a body that is theirs as a
// whole.
func hasBody(status int) bool {
	switch status {
	case http.StatusSwitchingProtocols, http.StatusNoContent, http.StatusResetContent, http.StatusPartialContent, http.StatusNotModified:
		return false
	}
	return true
}

// isWhole reports whether the body is neither a part nor coded already.
func isWhole(header http.Header) bool {
	for _, coding := range header["Content-Encoding"] {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return false
		}
	}
	return header.Get("Content-Range") == ""
}

// keepHeader keeps the header as it is: what the handler changes from now on
// comes too late for it, unless it is a trailer.
func (w *writer) keepHeader() {
	if w.state == waiting && w.first == nil {
		w.first = w.Header().Clone()
	}
}

// sendHeader sends the header; how the body is sent is known now.
func (w *writer) sendHeader(how state) {
	w.state = how
	header := w.Header()
	var late http.Header
	if w.first != nil {
		late, w.first = takeBack(header, w.first), nil
	}
	if how != plain {
		recode(header, w.plan.codec.name)
	}
	w.ResponseWriter.WriteHeader(w.status)
	maps.Copy(header, late)
}

// begin begins to send the body: coded, unless the budget is used up.
func (w *writer) begin(stream bool) error {
	if w.h.cfg.Budget.takeFor(stream, w.plan.codec.size(stream)) {
		w.coder, w.held = w.plan.codec.coder(stream)
		w.coder.Reset((*sink)(w))
		w.sendHeader(coding)
	} else {
		w.plan = plan{reason: "no memory"}
		w.sendHeader(plain)
	}
	return w.writePending()
}

func (w *writer) writePending() error {
	if w.pending == nil {
		return nil
	}
	_, err := w.pass(*w.pending)
	putBuffer(w.pending)
	w.pending = nil
	return err
}

// Write codes p, or keeps it until there is enough to be worth it.
func (w *writer) Write(p []byte) (int, error) {
	if w.state == unknown {
		w.decide(http.StatusOK)
	}
	if w.state == waiting {
		if w.before+int64(len(p)) < w.least {
			w.keepHeader()
			if w.pending == nil {
				w.pending = buffers.Get().(*[]byte) //nolint:forcetypeassert // nothing else is in it
			}
			*w.pending = append(*w.pending, p...)
			w.before += int64(len(p))
			return len(p), nil
		}
		if err := w.begin(false); err != nil {
			return 0, err
		}
	}
	if (w.state == coding || w.state == bodiless) && w.length >= 0 && w.before+int64(len(p)) > w.length {
		return 0, http.ErrContentLength // the server, who does not know the length, would not say it
	}
	w.before += int64(len(p))
	return w.pass(p)
}

// pass sends p.
func (w *writer) pass(p []byte) (int, error) {
	switch w.state {
	case coding:
		defer w.spend(time.Now(), len(p))
		return w.coder.Write(p)
	case bodiless:
		return len(p), nil
	case over:
		return 0, errOver
	default:
		return (*sink)(w).Write(p)
	}
}

// sink is where a coder writes to.
type sink writer

func (s *sink) Write(p []byte) (int, error) {
	began := time.Now()
	n, err := s.ResponseWriter.Write(p) //nolint:gosec // the handler's own words, as it wants them sent
	s.spent.Took -= time.Since(began)   // of no coder
	s.spent.After += int64(n)
	s.after += int64(n)
	s.gone = s.gone || err != nil
	return n, err
}

// FlushError sends what was written, through the coder. A response that is
// flushed before it is large enough to be worth coding is a stream.
func (w *writer) FlushError() error {
	if w.state == unknown {
		w.decide(http.StatusOK)
	}
	if w.state == waiting {
		if err := w.begin(true); err != nil {
			return err
		}
	}
	switch w.state {
	case over:
		return errOver
	case coding:
		if err := w.flushCoder(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is FlushError for those who ask for an http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() }

// finish ends the response of a handler that has returned. It reports false
// when the client must not take the response for a complete one.
func (w *writer) finish() bool {
	if w.state == unknown && w.r.Method == http.MethodHead {
		w.decide(http.StatusOK) // its header is that of a GET
	}
	switch w.state {
	case waiting:
		if w.r.Method == http.MethodHead && w.before == 0 {
			w.keepHeader()
			weaken(w.first) // the body of a GET may be large enough
		}
		w.plan = plan{reason: "small"}
		w.sendHeader(plain)
		_ = w.writePending() // a client that has gone needs no answer
	case coding:
		if w.length >= 0 && w.before < w.length && !w.gone {
			return false
		}
		defer w.spend(time.Now(), 0)
		return w.coder.Close() == nil || w.gone
	}
	return true
}

// free gives back what the response holds. A coder that may be in the middle of
// anything is not used again.
func (w *writer) free(complete bool) {
	if w.coder != nil {
		w.progress()
		if complete {
			w.coder.free()
		}
		w.coder = nil
		w.h.cfg.Budget.give(w.held)
	}
	if w.pending != nil {
		putBuffer(w.pending)
		w.pending = nil
	}
	if w.state != plain {
		w.state = over
	}
	if w.h.cfg.Observe != nil && (w.plan.codec != nil || w.plan.reason != "") {
		w.h.cfg.Observe(Outcome{Coding: w.plan.name(), Reason: w.plan.reason, Before: w.before, After: w.after})
	}
}
