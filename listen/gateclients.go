package listen

import (
	"net/netip"
	"slices"
	"time"
)

// maxClients is how many clients are known at one time: 64 Ki of 100 bytes. A
// client beyond it is not counted for itself; so many new ones in a second make
// no sense of counting each.
const maxClients = 64 << 10

// clients are those with a connection, and those whose last one is not long ago.
// There is no goroutine: those that may be forgotten are when there are twice as
// many as the last time.
type clients struct {
	of        map[netip.Addr]*client
	connected int // of them, with a connection
	sweepAt   int
	swept     time.Time
}

type client struct {
	open   int
	bucket bucket
}

// client returns what the connections of an address are counted under, the zero
// Addr if they are not.
func (l *Limits) client(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	exempt := !addr.IsValid() || addr.IsLoopback() || l.PerAddress <= 0 && l.Rate <= 0 ||
		slices.ContainsFunc(l.Exempt, func(p netip.Prefix) bool { return p.Contains(addr) })
	switch {
	case exempt:
		return netip.Addr{}
	case addr.Is6():
		return netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}

// owes reports whether a client pays for what it did (see Blame).
func (cs *clients) owes(key netip.Addr) bool {
	c := cs.of[key]
	return c != nil && c.bucket.tokens < 0
}

// take counts a new connection, unless it is one too many. If it cannot be
// counted it is let through.
func (cs *clients) take(key netip.Addr, l *Limits, now time.Time) *Refusal {
	c := cs.of[key]
	if c == nil {
		if !cs.room(l, now) {
			return nil
		}
		c = &client{bucket: bucket{tokens: float64(l.Rate), at: now}}
		cs.of[key] = c
	}
	if l.PerAddress > 0 && c.open >= l.PerAddress {
		return tooManyOfClient
	}
	if l.Rate > 0 && !c.bucket.take(l.Rate, now) {
		return tooFast
	}
	if c.open++; c.open == 1 {
		cs.connected++
	}
	return nil
}

func (cs *clients) give(key netip.Addr) {
	if c := cs.of[key]; c != nil && c.open > 0 {
		if c.open--; c.open == 0 {
			cs.connected--
		}
	}
}

// room reports whether one more may be known.
func (cs *clients) room(l *Limits, now time.Time) bool {
	const few = 1024
	if len(cs.of) >= max(few, cs.sweepAt) && now.Sub(cs.swept) >= time.Second {
		for key, c := range cs.of {
			// When its bucket is full, nothing is left to know of it.
			if c.open == 0 && c.bucket.full(l.Rate, now) {
				delete(cs.of, key)
			}
		}
		cs.swept = now
		cs.sweepAt = min(2*len(cs.of), maxClients)
	}
	return len(cs.of) < maxClients
}

// bucket is a token bucket that is filled in a second.
type bucket struct {
	tokens float64
	at     time.Time
}

// full reports whether nobody has taken a token that is not back.
func (b *bucket) full(perSecond int, now time.Time) bool {
	most := max(float64(perSecond), 0)
	return most == 0 || b.tokens+most*now.Sub(b.at).Seconds() >= most
}

// take takes a token if there is one, of at most perSecond.
func (b *bucket) take(perSecond int, now time.Time) bool { return b.pay(1, perSecond, perSecond, now) }

// pay takes some, or parts of one, of at most so many.
func (b *bucket) pay(tokens float64, perSecond, most int, now time.Time) bool {
	b.tokens = min(float64(most), b.tokens+float64(perSecond)*now.Sub(b.at).Seconds())
	b.at = now
	if b.tokens < tokens {
		return false
	}
	b.tokens -= tokens
	return true
}
