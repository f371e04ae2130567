package capture

import "time"

// A hop that buffers holds events back and then passes many on at once. A silence of
// burstSilence, and then burstEvents with no more than burstPause between what is read
// of them, is taken for that: models and feeds send what they have as they have it.
const (
	burstSilence = 250 * time.Millisecond
	burstPause   = 10 * time.Millisecond
	burstEvents  = 8
)

// burst finds bursts in when events come.
type burst struct {
	last   time.Time // when the latest came
	events int       // since the silence; 0 where there was none, or its burst has been told
}

// came notes that so many events came at once, and reports whether with them a burst
// is found.
func (b *burst) came(now time.Time, events int) bool {
	since := now.Sub(b.last)
	b.last = now
	switch {
	case since >= burstSilence:
		b.events = events
	case b.events > 0 && since <= burstPause:
		b.events += events
	default:
		b.events = 0
	}
	if b.events < burstEvents {
		return false
	}
	b.events = 0
	return true
}
