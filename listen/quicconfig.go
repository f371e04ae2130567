package listen

import (
	"cmp"
	"math"
	"time"

	"github.com/quic-go/quic-go"
)

// What a client may make the server hold before anybody reads it is bounded by
// receive windows. They begin at what a client's first flight carries (32
// packets, about 40 KB) and grow with what handlers read, for which the
// server has one budget:
//
//	1,000 connections × 48 KiB = 47 MiB, and 64 MiB for all that grow.
//
// A frame of 128 bytes keeps the buffer of a whole packet, 1,452 bytes: someone
// who is after that gets eleven times of it, 1,000 connections of theirs
// 530 MiB, which is why one address is allowed so many and no more
// (Limits.PerAddress) and why a connection on which no request is being served
// is closed after Timeouts.Idle. Headers are read as they come: Limits.Streams
// of them that do not end are Limits.HeaderBytes each, and a goroutine.
const (
	initialStreamWindow = 32 << 10
	initialConnWindow   = 48 << 10
	// 1 MiB at a round trip of 100 ms is 84 Mbit/s for one upload.
	maxStreamWindow = 1 << 20
	maxConnWindow   = 3 << 19 // 1.5 times a stream's, as quic-go grows them
	windowBudget    = 64 << 20
)

// A client of HTTP/3 opens three streams in one direction, for control and for
// QPACK (RFC 9114, section 6.2; RFC 9204, section 4.2), and may open one that
// means nothing. Since the server's table of QPACK has no dynamic entry, nothing
// is sent on two of them.
const maxUniStreams = 8

// Beyond this many incomplete handshakes a client first shows that it has the
// address it sends from (Retry, RFC 9000, section 8.1.2), so that signatures are
// not computed, and limits of addresses not used up, for a forger. It costs a
// client one round trip.
const maxShaking = 100

const (
	// NATs forget a UDP flow after 30 s as a rule. quic-go cannot ask only while
	// a request is under way, but a connection without one ends after
	// Timeouts.Idle.
	keepAlive = 25 * time.Second
	// A client that was asked twice and sent nothing is gone.
	maxSilence = time.Minute
)

// config returns quic-go's configuration. What is not here is as quic-go has it:
// the path MTU is discovered, datagrams (RFC 9221) are off.
func (q *quicServer) config() *quic.Config {
	cfg := &q.server.cfg
	streams := int64(cfg.Limits.Streams)
	if streams < 0 {
		streams = math.MaxInt64 // which quic-go takes as its own limit, 2^60
	}
	return &quic.Config{
		Allow0RTT: cfg.QUIC.EarlyData != nil,
		// quic-go gives a handshake twice this in all.
		HandshakeIdleTimeout:           cmp.Or(cfg.Timeouts.Header, time.Minute) / 2,
		MaxIdleTimeout:                 maxSilence,
		KeepAlivePeriod:                keepAlive,
		MaxIncomingStreams:             streams,
		MaxIncomingUniStreams:          maxUniStreams,
		InitialStreamReceiveWindow:     initialStreamWindow,
		MaxStreamReceiveWindow:         maxStreamWindow,
		InitialConnectionReceiveWindow: initialConnWindow,
		MaxConnectionReceiveWindow:     maxConnWindow,
		AllowConnectionWindowIncrease:  q.lend,
	}
}

// lend reports whether there is enough left of the budget for a window to grow
// by delta, and takes it.
func (q *quicServer) lend(conn *quic.Conn, delta uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.conns[conn]
	if c == nil || q.lent+delta > windowBudget {
		return false
	}
	q.lent += delta
	c.lent += delta
	return true
}
