package upstream

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Suggestion is how many connections the observed load asks for, by Little's
// law: requests a second × seconds that each holds a connection.
type Suggestion struct {
	Concurrency float64 `json:"concurrency"` // rate × hold, averaged over the last minute
	Peak        int     `json:"peak"`        // most requests at once in that time
	Rate        float64 `json:"rate"`        // requests a second
	Hold        float64 `json:"hold_seconds"`
	Connections int     `json:"connections"` // that Connections.Max should allow in total; 0: too little was seen to say
	Why         string  `json:"why"`         // the sum, and whether more or fewer would do
}

const (
	// meterSlot is the step in which the load of long ago is forgotten, and
	// meterSlots are how many are remembered, the present one included.
	meterSlot  = 10 * time.Second
	meterSlots = 6
	// enoughRequests is how many requests say something about the load.
	enoughRequests = 30
)

// meter measures the load of a pool over the last minute: how many requests
// begin, and how many are under way at once. The latter is the time that
// requests were under way, those that have not ended included, over the time
// that has passed; so a stream counts while it is open, and not when it ends.
// It is safe for concurrent use.
type meter struct {
	mu       sync.Mutex
	start    time.Time     // the first request
	counted  time.Duration // of which the slots know, from start
	inFlight int
	slots    [meterSlots]loadSlot // slot n at n % meterSlots
}

// loadSlot is the load within one meterSlot.
type loadSlot struct {
	carried int // requests under way when it began
	begun   int
	held    time.Duration // of all requests together
	peak    int
}

func newMeter() *meter { return new(meter) }

// begin notes a request that got its connection.
func (m *meter) begin(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.start.IsZero() {
		m.start = now
	}
	s := m.advanceLocked(now)
	s.begun++
	m.inFlight++
	s.peak = max(s.peak, m.inFlight)
}

// end notes that a request has left its connection.
func (m *meter) end(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advanceLocked(now)
	m.inFlight--
}

// advanceLocked counts the time until now and returns the present slot.
func (m *meter) advanceLocked(now time.Time) *loadSlot {
	until := max(m.counted, now.Sub(m.start)) // now was read before the lock, and may be a little old
	n, last := slotOf(m.counted), slotOf(until)
	if last-n > meterSlots { // all are begun anew
		n = last - meterSlots
		m.counted = startOf(n + 1)
	}
	s := &m.slots[n%meterSlots]
	for ; n < last; n++ {
		end := startOf(n + 1)
		s.held += time.Duration(m.inFlight) * (end - m.counted)
		m.counted = end
		s = &m.slots[(n+1)%meterSlots]
		*s = loadSlot{carried: m.inFlight, peak: m.inFlight}
	}
	s.held += time.Duration(m.inFlight) * (until - m.counted)
	m.counted = until
	return s
}

func slotOf(d time.Duration) int  { return int(d / meterSlot) }
func startOf(n int) time.Duration { return time.Duration(n) * meterSlot }

// suggest says how many connections the load asks for. There are open ones of
// at most allowed, each for perConn requests at once: 1 over HTTP/1.1.
func (m *meter) suggest(now time.Time, open, allowed, perConn int) Suggestion {
	s, requests, over := m.load(now)
	switch {
	case requests < enoughRequests:
		s.Why = fmt.Sprintf("too few requests yet (%d in the last minute) to say", requests)
		return s
	case over < meterSlot:
		s.Why = fmt.Sprintf("there have been requests for %s only: too short to say", round(over))
		return s
	}
	calm := int(math.Ceil(s.Concurrency + 2*math.Sqrt(s.Concurrency) + 1))
	atOnce := max(calm, s.Peak)
	s.Connections = atOnce
	s.Why = s.sum() + "; with headroom "
	if s.Peak > calm {
		s.Why = fmt.Sprintf("%s, and up to %d; so ", s.sum(), s.Peak)
	}
	if perConn > 1 {
		s.Connections = (atOnce*5 + perConn*4 - 1) / (perConn * 4) // the next is opened at 80 %
		s.Why += fmt.Sprintf("%d requests on ", atOnce)
	}
	s.Why += strconv.Itoa(s.Connections) + " connections"
	if s.Connections == 1 {
		s.Why = strings.TrimSuffix(s.Why, "s")
	}
	s.Why += ". " + s.verdict(open, allowed, perConn)
	return s
}

// sum is Little's law in words.
func (s *Suggestion) sum() string {
	if s.Rate == 0 {
		return fmt.Sprintf("no request began, and %s were under way at once", short(s.Concurrency))
	}
	return fmt.Sprintf("%s requests/s × %s s = %s at once", short(s.Rate), short(s.Hold), short(s.Concurrency))
}

// verdict compares the suggestion with what there is.
func (s *Suggestion) verdict(open, allowed, perConn int) string {
	switch {
	case s.Connections > allowed && s.Peak >= allowed*perConn:
		return fmt.Sprintf("The %d allowed are too few; requests waited", allowed)
	case s.Connections > allowed:
		return fmt.Sprintf("The %d allowed are too few", allowed)
	case open > s.Connections+max(1, s.Connections/4): // not for a difference that the next minute takes back
		return fmt.Sprintf("There are %d: fewer would do", open)
	}
	return fmt.Sprintf("The %d allowed are enough", allowed)
}

// short writes v with at most three digits that mean something.
func short(v float64) string {
	digits := 0
	if v > 0 && v < 100 {
		digits = min(6, 2-int(math.Floor(math.Log10(v))))
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if digits > 0 {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// load returns what a Suggestion says of the load, and how many requests that
// is from, and how much time.
func (m *meter) load(now time.Time) (s Suggestion, requests int, over time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.start.IsZero() {
		return s, 0, 0
	}
	m.advanceLocked(now)
	oldest := max(0, slotOf(m.counted)-(meterSlots-1))
	over = m.counted - startOf(oldest)
	var begun int
	var held time.Duration
	for _, slot := range m.slots {
		begun += slot.begun
		held += slot.held
		s.Peak = max(s.Peak, slot.peak)
	}
	if over > 0 {
		s.Concurrency = held.Seconds() / over.Seconds()
		s.Rate = float64(begun) / over.Seconds()
	}
	if begun > 0 {
		s.Hold = held.Seconds() / float64(begun)
	}
	return s, begun + m.slots[oldest%meterSlots].carried, over
}
