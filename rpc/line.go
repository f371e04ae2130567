package rpc

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// line is the stream below a call, which connect-go does not show to those it calls.
// It breaks what stalls: a write whose client takes nothing, and a request that does
// not come.
type line struct {
	http.ResponseWriter

	rc       *http.ResponseController
	patience time.Duration
	writing  *time.Timer // runs while something is written; nil before
	written  func(n int) // is told how many bytes were written; may be nil
	held     bool        // what is written waits for more
	reading  *time.Timer // runs while a message is owed; nil without a body
	body     *incoming   // nil without a body

	mu      sync.Mutex
	over    bool // the call is, and what is below may be another's
	stalled bool
}

// piece is how much of a message is to be taken by its client within the line's
// patience, in bytes.
const piece = 64 << 10

type lineKey struct{}

// open puts a line below the call, which closes it in the end. The request of a call
// that has one message is to come without stalling.
func (h *Handler) open(w http.ResponseWriter, r *http.Request, one bool) (*line, *http.Request) {
	l := &line{ResponseWriter: w, rc: http.NewResponseController(w), patience: h.cfg.WriteTimeout}
	r = r.WithContext(context.WithValue(r.Context(), lineKey{}, l))
	if r.Body != nil && r.Body != http.NoBody {
		l.reading = time.AfterFunc(l.patience, l.deafen)
		l.reading.Stop()
		l.body = newIncoming(r, l, &h.incoming, one)
		r.Body = l.body
	}
	return l, r
}

// lineOf returns the line of the call. [Handler] has put it there.
func lineOf(ctx context.Context) *line {
	l, _ := ctx.Value(lineKey{}).(*line)
	return l
}

// endless says that the response may take longer than the server grants one.
func (l *line) endless() {
	_ = l.rc.SetWriteDeadline(time.Time{}) // some writers have none, such as a recorder in a test
}

// Unwrap returns the writer below.
func (l *line) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// WriteHeader begins the response, and says in words what connect-go says by the status
// alone, which is no error of a call.
func (l *line) WriteHeader(status int) {
	header, text := l.Header(), ""
	switch status {
	case http.StatusMethodNotAllowed:
		text = "a call is made by the method " + header.Get("Allow")
	case http.StatusUnsupportedMediaType:
		text = "the body's media type is none of this call: use one of " + header.Get("Accept-Post")
	}
	if text == "" {
		l.ResponseWriter.WriteHeader(status)
		return
	}
	http.Error(l.ResponseWriter, text, status)
}

// Write writes a piece at a time.
func (l *line) Write(p []byte) (n int, err error) {
	defer l.watch().Stop()
	for {
		l.writing.Reset(l.patience)
		m, err := l.ResponseWriter.Write(p[n:min(len(p), n+piece)])
		n += m
		if err != nil || n == len(p) {
			if l.written != nil {
				l.written(n)
			}
			return n, err
		}
	}
}

// FlushError sends what was written.
func (l *line) FlushError() error {
	defer l.watch().Stop()
	l.writing.Reset(l.patience)
	return l.rc.Flush()
}

// Flush is for connect-go, which asks for it by this name after each message. When it
// fails, so does the next Write.
func (l *line) Flush() {
	if !l.held {
		_ = l.FlushError()
	}
}

// together sends what send writes as one, as far as the writer below holds it.
func (l *line) together(send func() error) error {
	l.held = true
	err := send()
	l.held = false
	l.Flush()
	return err
}

// watch returns the timer of what is written.
func (l *line) watch() *time.Timer {
	if l.writing == nil {
		l.writing = time.AfterFunc(l.patience, func() { l.breakOff(true) })
	}
	return l.writing
}

// hangUp breaks what is being written, and all that would be.
func (l *line) hangUp() { l.breakOff(false) }

func (l *line) breakOff(stalled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.stalled = l.stalled || stalled
		_ = l.rc.SetWriteDeadline(time.Unix(1, 0))
	}
}

// deafen ends reading.
func (l *line) deafen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		_ = l.rc.SetReadDeadline(time.Unix(1, 0))
	}
}

// unheard returns why nothing more is read, as far as more is known of that than err,
// which reading ended with.
func (l *line) unheard(err error) error {
	if l.body != nil && l.body.why != nil {
		return l.body.why
	}
	return err
}

// hasStalled reports whether the client took nothing for too long.
func (l *line) hasStalled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stalled
}

// close ends the line's part in the connection, which may have another request.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for _, t := range [...]*time.Timer{l.writing, l.reading} {
		if t != nil {
			t.Stop()
		}
	}
	if l.body != nil {
		l.body.all.release(l.body)
	}
}
