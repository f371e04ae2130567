package topic

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Deliver says which of the events a reader is behind by it gets to see.
type Deliver uint8

// The delivery policies. Critical events are exempt from all of them.
const (
	// Every delivers each event, in order.
	Every Deliver = iota
	// Newest drops the oldest of what a reader has not read, down to
	// Policy.Newest events.
	Newest
	// LatestPerKey delivers, of the events with the same key that a reader
	// has not read, only the last. Events without a key are all delivered.
	LatestPerKey
	// Wait lets the publisher wait while the retention is full of events that
	// the topic's one reader has not consumed.
	Wait
)

// OnLag says what becomes of a connected reader whose next event left the
// retention before it was read.
type OnLag uint8

// What happens to a reader that lags.
const (
	LagGap   OnLag = iota // it gets an explicit gap and goes on
	LagClose              // it gets an item of KindLag and nothing more
)

// Defaults of Policy.
const (
	DefaultEvents      = 10_000
	DefaultBytes       = 16 << 20
	DefaultAge         = 10 * time.Minute
	DefaultWaitTimeout = 5 * time.Second
)

// Policy is what a topic retains and how it delivers. The zero value is the
// default policy.
type Policy struct {
	// Deliver is the delivery policy; default Every.
	Deliver Deliver
	// Newest is how many unread events Deliver Newest keeps; default 1.
	Newest int
	// Rate is how many events a second each reader gets at most, under Newest
	// and LatestPerKey; what a reader must not see yet stays subject to the
	// policy. A critical event is not held back, nor is what stands before it.
	// 0: no limit; the least is one an hour.
	Rate float64
	// OnLag is for readers that fall behind the retention; default LagGap.
	OnLag OnLag
	// Events is the most events retained; default 10,000.
	Events int
	// Bytes is the most bytes retained, counting data, metadata and
	// RecordOverhead per event; default 16 MiB. The wire formats that readers
	// share come on top, of the newest events only: see [Record.Frame].
	Bytes int64
	// Age is how long an event is retained, and how long a topic without
	// readers and events is kept; default 10 minutes, at most 100 years.
	Age time.Duration
	// WaitTimeout is how long a publisher waits under Wait; default 5 s.
	WaitTimeout time.Duration
	// Patience is how long an append that would evict events which a connected
	// reader has not consumed waits for that reader before it does evict them.
	// It hands the pace of a slow reader on to a source. 0: it never waits.
	Patience time.Duration
}

func (p Policy) withDefaults() *Policy {
	if p.Newest <= 0 {
		p.Newest = 1
	}
	if p.Events <= 0 {
		p.Events = DefaultEvents
	}
	if p.Bytes <= 0 {
		p.Bytes = DefaultBytes
	}
	if p.Age <= 0 {
		p.Age = DefaultAge
	}
	p.Age = min(p.Age, maxAge)
	if p.Rate > 0 {
		p.Rate = max(p.Rate, minRate)
	} else {
		p.Rate = 0 // also what is not a number
	}
	if p.WaitTimeout <= 0 {
		p.WaitTimeout = DefaultWaitTimeout
	}
	return &p
}

// Limits that keep sums of times within 64 bits.
const (
	maxAge  = 100 * 365 * 24 * time.Hour
	minRate = 1.0 / 3600
)

// holds reports whether appends may have to wait for readers.
func (p *Policy) holds() bool { return p.Deliver == Wait || p.Patience > 0 }

// ParseDeliver reads a delivery policy as the configuration writes it:
//
//	every | wait | newest N | latest-per-key, the last two also with: at most R/s
//
// It sets Deliver, Newest and Rate of the returned policy.
func ParseDeliver(s string) (Policy, error) {
	var p Policy
	words := strings.Fields(s)
	bad := func() (Policy, error) {
		return Policy{}, fmt.Errorf("topic: deliver %q: want every, newest N, latest-per-key or wait; newest and latest-per-key may end in: at most R/s", s)
	}
	if len(words) == 0 {
		return bad()
	}
	word, rest := words[0], words[1:]
	switch word {
	case "every", "wait":
		if word == "wait" {
			p.Deliver = Wait
		}
		if len(rest) > 0 {
			return bad()
		}
		return p, nil
	case "newest":
		p.Deliver = Newest
		if len(rest) == 0 {
			return bad()
		}
		n, err := strconv.Atoi(rest[0])
		if err != nil || n < 1 {
			return bad()
		}
		p.Newest, rest = n, rest[1:]
	case "latest-per-key":
		p.Deliver = LatestPerKey
	default:
		return bad()
	}
	if len(rest) == 0 {
		return p, nil
	}
	if len(rest) != 3 || rest[0] != "at" || rest[1] != "most" {
		return bad()
	}
	rate, ok := strings.CutSuffix(rest[2], "/s")
	r, err := strconv.ParseFloat(rate, 64)
	// A rate under one an hour is a mistake; one over a million limits nothing.
	if !ok || err != nil || !(r >= minRate && r <= 1e6) {
		return bad()
	}
	p.Rate = r
	return p, nil
}

// String returns the delivery policy as [ParseDeliver] reads it.
func (p Policy) String() string {
	s := "every"
	switch p.Deliver {
	case Newest:
		s = "newest " + strconv.Itoa(max(p.Newest, 1))
	case LatestPerKey:
		s = "latest-per-key"
	case Wait:
		s = "wait"
	case Every:
	}
	if p.Rate > 0 {
		s += " at most " + strconv.FormatFloat(p.Rate, 'f', -1, 64) + "/s"
	}
	return s
}
