package listen

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
)

// Observer is told what happens to connections. Its functions must not block; nil
// ones are not called. Each may be called concurrently.
type Observer struct {
	// Heard is told when a client over TCP sends its first bytes: how long after it
	// was accepted, a header of the PROXY protocol left out. QUIC begins with them.
	Heard func(time.Duration)
	// Shaken is told, at a connection's first request, of the handshake before it.
	Shaken func(Handshake)
	// Requested is told of each request as it comes: the major version of HTTP, and
	// whether it is the connection's first.
	Requested func(protocol int, first bool)
	// Idled is told, when a request comes on a connection that had none for a while,
	// how long that was. A connection that was closed instead tells nothing.
	Idled func(time.Duration)
	// Ended is told of each connection that has ended, those that were refused
	// included; not of one that was detached (see [Detach]), whose end only who took
	// it over knows.
	Ended func(Ended)
}

// Handshake is a handshake of TLS, over TCP or within that of QUIC.
type Handshake struct {
	Remote string // address and port of the connection's other end
	// Took is from accepting the connection to the handshake's end: the client's
	// first message, and two or three of its round trips.
	Took    time.Duration
	Version uint16 // of TLS, as crypto/tls numbers them
	QUIC    bool
	Resumed bool // a session from before was gone on with
}

// Ended is a connection that has ended.
type Ended struct {
	Remote   string // address and port of its other end
	Protocol int    // major version of HTTP; 0: no request came
	TLS      bool
	Version  uint16 // of TLS, as crypto/tls numbers them; 0: none, or no request came
	Resumed  bool   // its session of TLS
	Requests int64
	Lasted   time.Duration
	Reason   CloseReason
	// Path asks for what is known of the network to the client, and how much came and
	// went; false where nothing is. It is for the time of the call.
	Path func() (Path, bool)
}

// CloseReason is why a connection ended, one of the constants below.
type CloseReason string

// The reasons that there are.
const (
	ClosedByClient   CloseReason = "client_closed"    // its end; over TLS also an error of protocol
	ResetByClient    CloseReason = "client_reset"     // by RST, or the peer is gone
	HandshakeFailed  CloseReason = "handshake_failed" // of TLS, or it took too long
	HeaderTimeout    CloseReason = "header_timeout"   // no request came in Timeouts.Header, over QUIC in Timeouts.Idle
	IdleTimeout      CloseReason = "idle_timeout"     // no further one in Timeouts.Idle
	ClientSilent     CloseReason = "client_silent"    // nothing came over HTTP/2, no answer to a PING, or over QUIC, no acknowledgement
	AgedOut          CloseReason = "max_age"          // Timeouts.MaxAge
	ClosedByDrain    CloseReason = "draining"         // the server is going away
	ClosedForFlood   CloseReason = "flood"            // requests given up, or control frames, beyond what is allowed, or Blame
	RefusedByLimit   CloseReason = "refused"          // it was beyond one of Limits
	ClosedByResponse CloseReason = "server_closed"    // a response ended it, an error of protocol, or who took it over
)

// sign is what was seen of how a connection came to its end.
type sign uint32

const (
	unseen  sign = iota
	ended        // the client has closed it
	broken       // reset
	late         // a deadline passed
	flooded      // see flood
	over         // a response said that it is the last
	old          // and it was, for the connection's age
)

// note keeps it; what is noted first counts.
func (c *connection) note(p sign) { c.saw.CompareAndSwap(uint32(unseen), uint32(p)) }

// arrives notes a request, and departs its end.
func (c *connection) arrives(r *http.Request) {
	o := &c.gate.observer
	first := c.requests.Add(1) == 1
	if first {
		c.gate.speaks(c, r.ProtoMajor)
		c.secured(r.TLS)
	}
	if c.active.Add(1) == 1 && !first && o.Idled != nil {
		o.Idled(time.Since(c.since) - time.Duration(c.rested.Load()))
	}
	if o.Requested != nil {
		o.Requested(r.ProtoMajor, first)
	}
}

func (c *connection) departs() {
	c.rested.Store(int64(time.Since(c.since)))
	c.active.Add(-1)
}

// resumedBit is beside the version in connection.tls.
const resumedBit = 1 << 16

// secured notes how the connection's TLS stands.
func (c *connection) secured(s *tls.ConnectionState) {
	if s == nil {
		return
	}
	how := uint32(s.Version)
	if s.DidResume {
		how |= resumedBit
	}
	c.tls.Store(how)
	if told := c.gate.observer.Shaken; told != nil {
		_, quic := c.self.(*quicConn)
		took := time.Duration(c.shaken.Load())
		if took == 0 { // it was not bounded, and so not seen
			took = time.Since(c.since)
		}
		told(Handshake{Remote: c.self.remote(), Took: took, Version: s.Version, QUIC: quic, Resumed: s.DidResume})
	}
}

// tell tells that the connection has ended.
func (c *connection) tell(o *Observer, protocol uint8, reason CloseReason) {
	if o.Ended == nil {
		return
	}
	how := c.tls.Load()
	o.Ended(Ended{
		Remote: c.self.remote(), Protocol: int(protocol), TLS: how != 0, Resumed: how&resumedBit != 0,
		Requests: c.requests.Load(), Lasted: time.Since(c.since), Reason: reason,
		Version: uint16(how), Path: c.self.path, //nolint:gosec // the lower half
	})
}

// asked returns why the client was asked to go, or made to; "" if it was not.
func (c *connection) asked() CloseReason {
	switch {
	case c.why != nil:
		return RefusedByLimit
	case c.blamed.Load() || sign(c.saw.Load()) == flooded:
		return ClosedForFlood
	case c.gate.draining.Load():
		return ClosedByDrain
	case sign(c.saw.Load()) == old:
		return AgedOut
	}
	return ""
}

// reason returns why a connection over TCP has ended, as far as that was seen.
func (c *tcpConn) reason() CloseReason {
	saw, requests := sign(c.saw.Load()), c.requests.Load()
	switch asked := c.asked(); {
	case asked != "":
		return asked
	case saw == ended:
		return ClosedByClient
	case saw == broken:
		return ResetByClient
	case requests == 0 && c.secure && c.shaken.Load() == 0:
		return HandshakeFailed
	case requests == 0 && saw == late:
		return HeaderTimeout
	case saw == unseen && c.silent():
		return ClientSilent
	case requests > 0 && c.active.Load() == 0 && (saw == late || c.rests()):
		return IdleTimeout
	case requests > 0 && c.active.Load() == 0 && c.secure && saw == unseen:
		return ClosedByClient // within TLS, which only TLS can read
	}
	return ClosedByResponse
}

// silent reports whether so long nothing came over HTTP/2 that net/http gave the
// client up, which it had asked for a sign of life.
func (c *tcpConn) silent() bool {
	spoke := c.spoke.Load()
	return spoke > 0 && time.Since(c.since)-time.Duration(spoke) >= pingEvery+pingTimeout-time.Second
}

// rests reports whether no request came in Timeouts.Idle, by which HTTP/2 closes.
func (c *tcpConn) rests() bool {
	return c.idle > 0 && time.Since(c.since)-time.Duration(c.rested.Load()) >= c.idle
}

// hear tells, once, that the client has sent something.
func (c *tcpConn) hear() {
	if c.heard.Swap(true) {
		return
	}
	if told := c.gate.observer.Heard; told != nil {
		told(time.Since(c.since))
	}
}

// watch notes what err, of a Read, says of the connection's end.
func (c *tcpConn) watch(err error) {
	switch {
	case errors.Is(err, io.EOF):
		c.note(ended)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ETIMEDOUT):
		c.note(broken)
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.cutting.Load():
		c.note(late)
	}
}

// reason returns why a connection over QUIC has ended, given what quic-go says.
func (c *quicConn) reason(err error) CloseReason {
	app, byApp := errors.AsType[*quic.ApplicationError](err)
	_, silent := errors.AsType[*quic.IdleTimeoutError](err)
	_, slow := errors.AsType[*quic.HandshakeTimeoutError](err)
	asked := c.asked()
	c.mu.Lock()
	going := c.going
	c.mu.Unlock()
	switch {
	case asked != "":
		return asked
	case slow || c.requests.Load() == 0 && c.shaken.Load() == 0:
		return HandshakeFailed
	case silent:
		return ClientSilent
	case sign(c.saw.Load()) == over:
		return ClosedByResponse
	case going && c.requests.Load() == 0:
		return HeaderTimeout
	case going:
		return IdleTimeout
	case byApp && app.Remote:
		return ClosedByClient
	}
	return ClosedByResponse
}
