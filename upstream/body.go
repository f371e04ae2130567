package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// replay is a request's body that can be sent more than once: one source, a
// record of what was read of it, and attempts that read each from the first
// byte, the record first. The source is read by one reader at a time, without
// the lock, since net/http may still be inside the Read of an attempt that is
// over, waiting for the client; what such a Read brings in the end goes into
// the record, for the attempt that follows. A nil replay is no body.
type replay struct {
	source   io.ReadCloser
	keep     int  // the most bytes of record
	length   int  // what the request declares, if that is at most keep; else 0
	trailers bool // the source fills the request's trailer at its end

	mu      sync.Mutex
	changed sync.Cond // a read has ended, or an attempt
	record  []byte
	total   int64    // bytes read from the source
	lost    bool     // record is not all of them
	reading bool     // a Read of the source is under way
	past    bool     // and what it brings is not for the record
	end     error    // what the source ended with: io.EOF or a *bodyError
	last    *attempt // the one that may read; nil: none
	settled bool
	closed  bool
}

// attempt is the body of one attempt.
type attempt struct {
	body   *replay
	off    int64
	closed bool
	inside bool   // its Read is one of the source
	let    func() // has the attempt end without that Read; nil: it waits
}

// bodyError is a failure of the request's body, not of any endpoint.
type bodyError struct{ cause error }

func (e *bodyError) Error() string { return fmt.Sprintf("upstream: request body: %v", e.cause) }
func (e *bodyError) Unwrap() error { return e.cause }

var (
	errBodyOver = errors.New("upstream: request body: read by an attempt that is over")
	errBodyLost = errors.New("upstream: request body: too long to be sent again")
)

// newReplay returns req's body to be sent more than once, of which at most
// keep bytes are held; nil if there is no body. Of a body that is declared
// longer nothing is held.
func newReplay(req *http.Request, keep int) *replay {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	b := &replay{source: req.Body, keep: max(keep, 0), trailers: len(req.Trailer) > 0}
	if req.ContentLength > int64(b.keep) {
		b.keep = 0
	} else if req.ContentLength > 0 { // with a body, 0 is not known
		b.length = int(req.ContentLength)
	}
	b.changed.L = &b.mu
	return b
}

// attempt returns the body of the next attempt, from its first byte. Reads of
// earlier attempts fail from now on. let is called without the lock when the
// attempt is closed while it waits for the source.
func (b *replay) attempt(let func()) io.ReadCloser {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = &attempt{body: b, let: let}
	b.changed.Broadcast()
	return b.last
}

// again reports whether a further attempt can have the whole body: all that
// was read is in the record, and the source has not failed. If so, reads of
// earlier attempts fail from now on, so that it remains true.
func (b *replay) again() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	failed := b.end != nil && b.end != io.EOF
	if b.settled || b.lost || failed || b.reading && b.past {
		return false
	}
	if b.reading && b.trailers {
		return false // that Read may fill in the trailer while the next attempt looks at it
	}
	b.last = nil
	b.changed.Broadcast()
	return true
}

// settle says that there is no further attempt: the source is closed with the
// last attempt's body, now if that is closed already.
func (b *replay) settle() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.settled = true
	b.keep = 0
	_ = b.finish() // nobody reads a body that is over
}

// finish unlocks the replay, and closes the source if its time has come. While
// a Read of an attempt that is over sits in the source, that is done beside
// the caller, as [http.RoundTripper] may: the body of a server's request can
// be closed only when its Read returns, that of a client is what ends the Read.
func (b *replay) finish() error {
	over := b.last == nil || b.last.closed
	if b.settled && !b.reading && (over || b.last.off == b.total) {
		b.record, b.lost = nil, true // a response may be read for hours
	}
	if !b.settled || !over || b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	reading := b.reading
	b.mu.Unlock()
	if reading {
		go func() { _ = b.source.Close() }()
		return nil
	}
	return b.source.Close()
}

// Read reads from the record, then from the source.
func (a *attempt) Read(p []byte) (int, error) {
	b := a.body
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case a.over():
			return 0, errBodyOver
		case len(p) == 0:
			return 0, nil
		case a.off < b.total && b.lost:
			return 0, errBodyLost
		case a.off < b.total:
			n := copy(p, b.record[a.off:])
			a.off += int64(n)
			return n, nil
		case b.end != nil:
			return 0, b.end
		case !b.reading:
			return a.readSource(p)
		}
		b.changed.Wait()
	}
}

// over reports, with the lock held, whether the attempt may read no more.
func (a *attempt) over() bool { return a.closed || a != a.body.last || a.body.closed }

// readSource reads what nobody has read yet. It lets the lock go meanwhile.
func (a *attempt) readSource(p []byte) (int, error) {
	b := a.body
	room := b.keep - len(b.record)
	past := b.lost || room <= 0
	if !past {
		p = p[:min(len(p), room)]
	}
	b.reading, b.past, a.inside = true, past, true
	n, err := b.unlocked(p)
	b.reading, a.inside = false, false
	b.changed.Broadcast()
	if n > 0 {
		b.total += int64(n)
		if past {
			b.record, b.lost = nil, true
		} else {
			if b.record == nil {
				b.record = make([]byte, 0, max(b.length, n))
			}
			b.record = append(b.record, p[:n]...)
		}
	}
	switch {
	case err == io.EOF: // as it is: readers compare it
		b.end = err
	case err != nil:
		b.end = &bodyError{err}
	}
	if a.over() {
		return 0, errBodyOver
	}
	a.off += int64(n)
	return n, b.end
}

func (b *replay) unlocked(p []byte) (int, error) {
	b.mu.Unlock()
	defer b.mu.Lock()
	return b.source.Read(p)
}

// Close ends the attempt, and the source too after settle. It may be called
// more than once.
func (a *attempt) Close() error {
	b := a.body
	b.mu.Lock()
	if a.closed {
		b.mu.Unlock()
		return nil
	}
	a.closed = true
	b.changed.Broadcast()
	waits := a.inside && a.let != nil
	err := b.finish()
	if waits {
		a.let()
	}
	return err
}

const (
	drainBytes = 64 << 10
	drainTime  = 5 * time.Millisecond
)

// drainRest reads the rest of an HTTP/1.1 response that its caller does not
// want, if it is at most 64 KiB and comes within 5 ms, and reports whether the
// end was reached, so that the connection can carry another request.
// setDeadline is SetReadDeadline of the connection; the deadline is taken back.
// The connection must not be offered to anybody before drainRest returns true,
// although net/http calls it available at the end of the body: until then the
// deadline may strike. body is still to be closed.
func drainRest(body io.Reader, setDeadline func(time.Time) error) bool {
	deadline := time.Now().Add(drainTime)
	if setDeadline(deadline) != nil {
		return false
	}
	_, err := io.CopyN(io.Discard, body, drainBytes+1) // one more, to see the end of just so many
	cleared := setDeadline(time.Time{})
	// After the deadline the timer may have struck net/http's read for the
	// next response, whatever this one's body says.
	return err == io.EOF && cleared == nil && time.Now().Before(deadline)
}
