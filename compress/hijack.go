package compress

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
)

// eventStream is the media type of streams that a handler takes the connection of.
const eventStream = "text/event-stream"

// Hijack gives the connection to a handler that writes the response itself, with
// the header as it is now and status 200. Where that response would be coded
// nothing happens, and the error is http.ErrNotSupported: the handler is to go
// on as usual. Else the header says afterwards what it would have said of the
// response that is not coded, such as Vary.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.state != unknown {
		return nil, nil, fmt.Errorf("compress: hijack: the response has begun: %w", http.ErrNotSupported)
	}
	header := maps.Clone(w.Header()) // of which no value is changed in place
	var p plan
	if isWhole(header) {
		p = w.h.choose(w.r, header)
	}
	if p.codec != nil && !p.must && strings.HasPrefix(header.Get("Content-Type"), eventStream) {
		// What has no memory for its coder is not coded, and may as well be given away.
		budget, size := w.h.cfg.Budget, p.codec.size(true)
		if budget.takeFor(true, size) {
			budget.give(size)
		} else {
			p = plan{reason: "no memory"}
		}
	}
	if p.codec != nil {
		return nil, nil, fmt.Errorf("compress: hijack: the response is to be coded: %w", http.ErrNotSupported)
	}
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		maps.Copy(w.Header(), header)
		w.state, w.status, w.plan = plain, http.StatusOK, p
	}
	return conn, rw, err
}
