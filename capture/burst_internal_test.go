package capture

import (
	"testing"
	"time"
)

func TestManyEventsAtOnceAfterASilenceAreABurst(t *testing.T) {
	t.Parallel()
	type piece struct {
		after  time.Duration
		events int
	}
	const ms = time.Millisecond
	for what, c := range map[string]struct {
		pieces []piece
		want   int
	}{
		"events as they happen":              {[]piece{{300 * ms, 1}, {40 * ms, 1}, {40 * ms, 2}, {300 * ms, 1}, {300 * ms, 3}}, 0},
		"what there was, with the header":    {[]piece{{ms, 100}, {ms, 100}}, 0},
		"many at once, in one piece":         {[]piece{{1000 * ms, 8}, {1000 * ms, 40}}, 2},
		"many at once, in several":           {[]piece{{1000 * ms, 3}, {ms, 3}, {ms, 3}, {ms, 30}}, 1},
		"few after a silence, and then more": {[]piece{{1000 * ms, 3}, {40 * ms, 20}, {ms, 20}}, 0},
	} {
		b := burst{last: time.Now()}
		now, got := b.last, 0
		for _, p := range c.pieces {
			now = now.Add(p.after)
			if b.came(now, p.events) {
				got++
			}
		}
		if got != c.want {
			t.Errorf("%s: %d bursts, want %d", what, got, c.want)
		}
	}
}
