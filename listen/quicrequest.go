package listen

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// extended makes an extended CONNECT (RFC 9220) look as over HTTP/2 (RFC 8441),
// and reports whether to go on. quic-go always tells clients that it knows of
// such requests.
func (c *quicConn) extended(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodConnect || r.Proto == "HTTP/3.0" {
		return true
	}
	protocol := r.Proto
	r.Proto = "HTTP/3.0"
	if protocol != "websocket" || !c.server.server.cfg.QUIC.WebSocket {
		http.Error(w, "this server does not speak that protocol over HTTP/3", http.StatusNotImplemented)
		return false
	}
	r.Header[":protocol"] = []string{protocol}
	return true
}

// endBody gives a request without a body none: HTTP/3 marks it by the end of the
// stream only, and a proxy would send a body of unknown length.
func endBody(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect || r.ContentLength > 0 {
		return
	}
	if r.ContentLength < 0 {
		// With a deadline in the past nothing is waited for, and nothing read
		// but the end that came with the header.
		ctl := http.NewResponseController(w)
		_ = ctl.SetReadDeadline(time.Unix(1, 0))
		_, err := r.Body.Read(make([]byte, 1))
		_ = ctl.SetReadDeadline(time.Time{})
		if !errors.Is(err, io.EOF) {
			return
		}
	}
	r.ContentLength = 0
	r.Body = http.NoBody
}

// quicWriter is a response over HTTP/3 that may be written as one over HTTP/1.1:
// it leaves out what must not be sent (RFC 9114, section 4.2), and takes
// "Connection: close" as net/http does over HTTP/2.
type quicWriter struct {
	http.ResponseWriter

	conn   *quicConn
	head   bool
	status int // 0 before the header
	wrote  bool
}

func (w *quicWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.clean()
		if status >= http.StatusOK {
			w.status = status
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *quicWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.clean()
		w.status = http.StatusOK
	}
	w.wrote = w.wrote || len(p) > 0
	return w.ResponseWriter.Write(p)
}

// FlushError sends what was written.
func (w *quicWriter) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is FlushError for those who do not ask.
func (w *quicWriter) Flush() { _ = w.FlushError() }

// Unwrap is for http.ResponseController.
func (w *quicWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *quicWriter) clean() {
	h := w.Header()
	if v := h["Connection"]; v != nil {
		if len(v) > 0 && v[0] == "close" {
			w.conn.note(over)
			w.conn.retire()
		}
		delete(h, "Connection")
	}
	delete(h, "Keep-Alive")
	delete(h, "Proxy-Connection")
	delete(h, "Transfer-Encoding")
	delete(h, "Upgrade")
}

// finish ends a response. quic-go adds a Content-Length of what was written if
// nothing was sent yet, which is wrong of a response that has no content by
// definition (RFC 9110, section 8.6).
func (w *quicWriter) finish() {
	if w.status == 0 {
		w.clean()
	}
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified || w.head && !w.wrote {
		w.Flush()
	}
}
