package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// upload is the client's body. The transport reads it on a goroutine of its
// own, which may outlive RoundTrip.
type upload struct {
	io.ReadCloser
	in      *http.Request
	trailer http.Header // of the request that goes out; nil: it can have none
	flow    *flow

	begun atomic.Bool
	lent  atomic.Int64 // bytes that the transport was given and may still be writing

	mu     sync.Mutex
	closed bool
	err    error // io.EOF when it is complete
}

func (u *upload) Read(p []byte) (int, error) {
	u.begun.Store(true)
	u.taken()
	n, err := u.ReadCloser.Read(p)
	if err == nil {
		u.lent.Store(int64(n))
		u.flow.begin(n)
		return n, nil
	}
	u.flow.end(n, 0)
	if errors.Is(err, io.EOF) && u.trailer != nil {
		for name, values := range u.in.Trailer {
			if !barredFromTrailer(name) {
				u.trailer[name] = values
			}
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil && (!u.closed || errors.Is(err, io.EOF)) { // a Read that Close ends is no failure of the client's
		u.err = err
	}
	return n, err
}

// taken notes that what was last read has been passed on, since the transport
// comes for more or has done with it.
func (u *upload) taken() {
	if n := u.lent.Swap(0); n > 0 {
		u.flow.end(int(n), 0)
	}
}

// Close ends the reading. ReverseProxy keeps it from the client's body, whose Close
// may wait for the rest on HTTP/1; elsewhere it ends a Read that is waiting, and a
// transport whose connection broke waits for that.
func (u *upload) Close() error {
	u.taken()
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	if u.in.ProtoMajor > 1 {
		return u.in.Body.Close()
	}
	return u.ReadCloser.Close()
}

// closeUpload reads what is left of a body that nobody wanted, once the answer
// is out. With full duplex net/http would do so after it has begun to read the
// next request, and panic.
func (x *exchange) closeUpload() {
	switch {
	case x.status == 0: // it ends without an answer, and flushing would make one
		return
	case x.status == http.StatusSwitchingProtocols || x.upload != nil && errors.Is(x.upload.outcome(), io.EOF):
		return
	case x.in.Header.Get("Expect") != "" && (x.upload == nil || !x.upload.begun.Load()):
		return // nobody asked for the body: net/http closes the connection
	}
	_ = x.FlushError() // a client that waits for the answer sends no more before it
	_ = x.in.Body.Close()
}

// outcome returns nil while the body is being read, io.EOF when it is
// complete, or why it could not be read. It may be called on a nil upload,
// which is complete.
func (u *upload) outcome() error {
	if u == nil {
		return io.EOF
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}
