package listen

import (
	"io"
	"net/http"
)

// collected is how much of a response net/http collects before it makes a frame
// of it.
const collected = 4 << 10

// h2Writer writes a response over HTTP/2 in pieces, each when it is its turn.
type h2Writer struct {
	http.ResponseWriter

	conn     *connection
	turn     turn
	begun    bool
	buffered int // of what was written: that net/http has made no frame of yet
}

// WriteHeader writes a header, which takes no turn: it is small.
func (w *h2Writer) WriteHeader(status int) {
	w.begin(status)
	w.ResponseWriter.WriteHeader(status)
}

// begin adjusts the header of a response, once.
func (w *h2Writer) begin(status int) {
	if w.begun || status < http.StatusOK {
		return
	}
	w.begun = true
	h := w.Header()
	if w.conn.dismisses() {
		h["Connection"] = closing // net/http makes a GOAWAY of it
	}
	if told := h["Priority"]; told != nil {
		w.turn.override(told)
	}
}

func (w *h2Writer) Write(p []byte) (int, error) {
	w.begin(http.StatusOK)
	written := 0
	for {
		part := p[written:min(len(p), written+piece)]
		n, err := w.write(part)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// WriteString is Write, without a copy of what is short.
func (w *h2Writer) WriteString(s string) (int, error) {
	if w.buffered+len(s) > collected {
		return w.Write([]byte(s))
	}
	w.begin(http.StatusOK)
	n, err := io.WriteString(w.ResponseWriter, s)
	w.buffered += n
	return n, err
}

func (w *h2Writer) write(p []byte) (int, error) {
	if w.buffered+len(p) <= collected {
		n, err := w.ResponseWriter.Write(p)
		w.buffered += n
		return n, err
	}
	w.turn.take(false)
	defer w.turn.give()
	n, err := w.ResponseWriter.Write(p)
	// It fills what is collected up, and collects the rest if that is small.
	rest := len(p)
	if w.buffered > 0 {
		rest -= collected - w.buffered
	}
	if w.buffered = 0; rest <= collected {
		w.buffered = rest
	}
	return n, err
}

// FlushError sends what is collected.
func (w *h2Writer) FlushError() error {
	w.begin(http.StatusOK)
	if w.buffered > 0 {
		w.turn.take(true)
		defer w.turn.give()
		w.buffered = 0
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is FlushError for those who do not ask.
func (w *h2Writer) Flush() { _ = w.FlushError() }

// Unwrap is for http.ResponseController.
func (w *h2Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// finish waits for the turn of what net/http is about to send.
func (w *h2Writer) finish() {
	w.begin(http.StatusOK)
	if w.buffered > 0 {
		w.turn.take(true)
		w.turn.give()
	}
	w.turn.leave()
}
