package listen

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"time"
)

// A client of HTTP/2 may send frames that carry nothing and make the server
// answer or work: PING (CVE-2019-9512), SETTINGS (CVE-2019-9515), PRIORITY
// (CVE-2019-9513), RST_STREAM (CVE-2019-9514), empty DATA (CVE-2019-9518).
// net/http only bounds the answers that wait. A connection on which there are
// more than controlRate a second, or controlBurst at once, is closed, unless it
// is a load balancer's. Those who measure their bandwidth by PINGs, as gRPC's
// do, send one a round trip: 5,000 a second in a fast network.
const (
	controlRate  = 10_000
	controlBurst = 1000
	// Some clients send two WINDOW_UPDATEs for each frame of a download.
	windowPrice = 1.0 / 16
	// Of a connection that is only told why it is refused, so many frames are
	// read, those of requests included.
	refusedFrames = 100
)

// frames counts what a client sends on a connection of HTTP/2 (RFC 9113,
// section 4.1).
type frames struct {
	header [9]byte
	have   int    // bytes of it
	skip   uint32 // bytes of the payload to come
	left   bucket
	limit  frameLimit
	// A reset costs a request. All that a client has may end at once, when its page
	// is left, and as many each second: Limits.Streams, or minAborts. One with NO_ERROR
	// gives nothing up: so clients of gRPC end a stream that was answered before they
	// had said all.
	resets     bucket
	mostResets int
	inReset    bool
	code       uint32 // of the reset whose payload comes
	answered   int    // resets with NO_ERROR, to be taken by who has the frames
}

// answeredPrice is what a reset with NO_ERROR counts for, of one that gives up.
const answeredPrice = 1.0 / 16

// frameLimit is what a connection may send.
type frameLimit struct {
	rate, burst int  // of frames that count
	all         bool // count: each for one
}

func newFrames(l *Limits, refused bool) frames {
	f := frames{limit: frameLimit{rate: controlRate, burst: controlBurst}, mostResets: math.MaxInt}
	if l.Streams > 0 {
		f.mostResets = max(l.Streams, minAborts)
	}
	// Few honest ones begin with a burst.
	f.left = bucket{tokens: controlBurst / 4, at: time.Now()}
	f.resets = bucket{tokens: float64(f.mostResets), at: time.Now()}
	if refused {
		f.limit = frameLimit{rate: refusedFrames, burst: refusedFrames, all: true}
		f.left.tokens = refusedFrames
	}
	return f
}

// pass reports whether there are not too many frames with p.
func (f *frames) pass(p []byte, now time.Time) bool {
	for len(p) > 0 {
		if f.skip > 0 {
			n := min(uint32(len(p)), f.skip) //nolint:gosec // a read is short
			payload := p[:n]
			p, f.skip = p[n:], f.skip-n
			if f.inReset && !f.reset(payload, now) {
				return false
			}
			continue
		}
		n := copy(f.header[f.have:], p)
		p = p[n:]
		if f.have += n; f.have < len(f.header) {
			return true
		}
		f.have = 0
		f.skip = binary.BigEndian.Uint32(f.header[:]) >> 8
		f.inReset, f.code = f.header[3] == frameReset, 0
		if cost := f.price(f.header[3], f.header[4]); cost > 0 && !f.left.pay(cost, f.limit.rate, f.limit.burst, now) {
			return false
		}
	}
	return true
}

// reset reads the payload of a RST_STREAM, which may come in parts, and reports whether
// there are not too many.
func (f *frames) reset(payload []byte, now time.Time) bool {
	for _, b := range payload {
		f.code = f.code<<8 | uint32(b)
	}
	if f.skip > 0 {
		return true
	}
	price := 1.0
	if f.code == 0 { // NO_ERROR
		price = answeredPrice
		f.answered++
	}
	return f.resets.pay(price, f.mostResets, f.mostResets, now)
}

// The types of frames that count otherwise than one (RFC 9113, section 6).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameWindowUpdate = 0x8
	frameContinuation = 0x9
	frameFlagEnd      = 0x1 // of DATA: END_STREAM
)

// price returns what a frame counts for, whose payload is what is to be skipped.
func (f *frames) price(kind, flags byte) float64 {
	switch {
	case f.limit.all:
		return 1
	case kind == frameData && (f.skip > 0 || flags&frameFlagEnd != 0), kind == frameHeaders, kind == frameContinuation && f.skip > 0:
		return 0 // other limits bound those
	case kind == frameWindowUpdate:
		return windowPrice
	}
	return 1
}

// framed is a connection of HTTP/2 whose frames are counted.
type framed struct {
	net.Conn

	conn   *connection
	frames frames
}

var errFlood = errors.New("listen: too many control frames")

func (f *framed) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if err == io.EOF {
		f.conn.note(ended) // or only TLS would know
	}
	if n == 0 {
		return n, err
	}
	now := time.Now()
	f.conn.spoke.Store(max(1, int64(now.Sub(f.conn.since)))) // 0 is never
	if !f.frames.pass(p[:n], now) {
		f.conn.note(flooded)
		f.conn.gate.charge(f.conn, floodPrice)
		f.conn.end()
		return 0, errFlood
	}
	if f.frames.answered > 0 {
		f.conn.aborts.forgive(f.frames.answered)
		f.frames.answered = 0
	}
	return n, err
}

// overTLS tells net/http how the connection is secured.
type overTLS struct {
	framed

	state func() tls.ConnectionState
}

func (c *overTLS) ConnectionState() tls.ConnectionState { return c.state() }

// unencrypted is how net/http and its HTTP/2 hand a connection over that is no
// tls.Conn, in one that is. It makes no difference to them that it was one.
type unencrypted struct {
	net.Conn

	inner net.Conn
}

func (u unencrypted) UnencryptedNetConn() net.Conn { return u.inner }

const (
	nextProtoH2  = "h2"
	nextProtoH2C = "unencrypted_http2"
)

// preface is how a connection of HTTP/2 begins (RFC 9113, section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// watchFrames has net/http's HTTP/2 read connections through frames. It is called
// when net/http has set itself up, before there is a connection.
func (s *Server) watchFrames() {
	serve := s.http.TLSNextProto[nextProtoH2C]
	through := func(h *http.Server, c net.Conn, handler http.Handler) {
		serve(h, tls.Client(unencrypted{inner: c}, nil), handler)
	}
	limits := &s.cfg.Limits
	count := func(c net.Conn) framed {
		below := connectionBelow(c)
		return framed{Conn: c, conn: below, frames: newFrames(limits, below.refusal() != nil)}
	}
	s.http.TLSNextProto[nextProtoH2C] = func(h *http.Server, c *tls.Conn, handler http.Handler) {
		plain := c.NetConn().(interface{ UnencryptedNetConn() net.Conn }).UnencryptedNetConn() //nolint:forcetypeassert // see unencrypted
		if limits.exempts(plain.RemoteAddr().String()) {
			serve(h, c, handler)
			return
		}
		f := count(plain)
		through(h, &f, handler)
	}
	secure := s.http.TLSNextProto[nextProtoH2]
	s.http.TLSNextProto[nextProtoH2] = func(h *http.Server, c *tls.Conn, handler http.Handler) {
		if limits.exempts(c.RemoteAddr().String()) {
			secure(h, c, handler)
			return
		}
		// Of a connection that is not a tls.Conn, the preface has been read.
		if !readPreface(c, s.cfg.Timeouts.Header) {
			_ = c.Close()
			return
		}
		through(h, &overTLS{count(c), c.ConnectionState}, handler)
	}
}

func readPreface(c net.Conn, within time.Duration) bool {
	if within > 0 {
		_ = c.SetReadDeadline(time.Now().Add(within)) // if it fails, so does the read
		defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	}
	var got [len(preface)]byte
	_, err := io.ReadFull(c, got[:])
	return err == nil && string(got[:]) == preface
}
