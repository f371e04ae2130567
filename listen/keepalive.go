package listen

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// closing is shared by the headers of all responses after which a connection is
// to end.
var closing = []string{"close"}

// aged reports whether a connection is to end.
func (c *connection) aged() bool {
	return c.blamed.Load() || !c.until.IsZero() && time.Now().After(c.until)
}

// dismisses reports whether the response that begins is to be the last, for age.
func (c *connection) dismisses() bool {
	if !c.aged() {
		return false
	}
	c.note(old)
	return true
}

// keep says to clients of HTTP/1.1 how long a connection is kept, and to those
// of a connection that is too old that it is not. Responses over HTTP/2 take
// turns by their priority.
func (s *Server) keep(next http.Handler) http.Handler {
	var told []string
	if idle := s.cfg.Timeouts.Idle; idle >= time.Second {
		told = []string{"timeout=" + strconv.FormatInt(int64(idle/time.Second), 10)}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := connOf(r.Context())
		switch {
		case c == nil:
			next.ServeHTTP(w, r)
		case r.ProtoMajor == 1:
			hw := &h1Writer{ResponseWriter: w, conn: c}
			if r.ProtoMinor > 0 && !r.Close {
				hw.told = told
			}
			next.ServeHTTP(hw, r)
			hw.begin(http.StatusOK)
			if last := w.Header()["Connection"]; r.Close || len(last) == 1 && last[0] == "close" {
				c.note(over)
			}
		case r.ProtoMajor == 2:
			if c.ended() {
				return
			}
			defer c.judge(r, time.Now())
			if r.Context().Err() != nil {
				return // it was given up before its turn came
			}
			hw := &h2Writer{ResponseWriter: w, conn: c}
			hw.turn.join(&c.turns, r)
			next.ServeHTTP(hw, r)
			hw.finish()
		default:
			next.ServeHTTP(w, r) // quicConn does all this
		}
	})
}

// h1Writer completes the header of a response over HTTP/1.
type h1Writer struct {
	http.ResponseWriter

	conn  *connection
	told  []string   // of Keep-Alive; nil for none
	body  *timedBody // the request's; nil without one
	begun bool
}

// WriteHeader writes a header.
func (w *h1Writer) WriteHeader(status int) {
	w.begin(status)
	w.ResponseWriter.WriteHeader(status)
}

// begin adjusts the header of a response, once.
func (w *h1Writer) begin(status int) {
	if w.begun || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	w.begun = true
	h := w.Header()
	switch {
	case status == http.StatusSwitchingProtocols:
	case w.conn.dismisses():
		h["Connection"] = closing
	case w.told == nil || w.conn.gate.draining.Load():
	case h["Connection"] == nil && h["Transfer-Encoding"] == nil && (w.body == nil || w.body.over()):
		h["Keep-Alive"] = w.told
	}
}

func (w *h1Writer) Write(p []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// WriteString is Write without a copy.
func (w *h1Writer) WriteString(s string) (int, error) {
	w.begin(http.StatusOK)
	return io.WriteString(w.ResponseWriter, s)
}

// ReadFrom lets the system copy files (sendfile).
func (w *h1Writer) ReadFrom(r io.Reader) (int64, error) {
	w.begin(http.StatusOK)
	return io.Copy(w.ResponseWriter, r)
}

// FlushError sends what was written.
func (w *h1Writer) FlushError() error {
	w.begin(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is FlushError for those who do not ask.
func (w *h1Writer) Flush() { _ = w.FlushError() }

// Hijack gives the connection to the handler.
func (w *h1Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.begun = true
	}
	return conn, rw, err
}

// Unwrap is for http.ResponseController.
func (w *h1Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
