package listen

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatCountsAsGivenUp(t *testing.T) {
	t.Parallel()
	limits := Limits{Streams: 400, Exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}
	few := Limits{Streams: 10}
	for _, c := range []struct {
		name   string
		limits Limits
		from   string
		age    time.Duration
		most   int // how many at once leave the connection; 0 for any number
	}{
		{"a page that is left", limits, "192.0.2.1:1", 0, 400},
		{"a page that may have few streams", few, "192.0.2.1:1", 0, minAborts},
		{"streams that are left after a while", limits, "192.0.2.1:1", abortTime + 1, 0},
		{"clients of a load balancer", limits, "198.51.100.7:1", 0, 0},
		{"clients of a load balancer, by IPv6", limits, "[::ffff:198.51.100.7]:1", 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			ended := false
			conn := &connection{gate: newGate(c.limits, slog.New(slog.DiscardHandler)), end: func() { ended = true }}
			ctx, giveUp := context.WithCancel(t.Context())
			r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
			r.RemoteAddr = c.from
			conn.judge(r, time.Now())
			giveUp()
			for i := range 2000 {
				conn.judge(r, time.Now().Add(-c.age))
				if want := c.most != 0 && i >= c.most; ended != want {
					t.Fatalf("%s: after %d the connection has ended: %v", c.name, i+1, ended)
				}
			}
			if c.most == 0 {
				return
			}
			ended = false
			conn.aborts.forgive(1)
			if conn.judge(r, time.Now()); ended {
				t.Errorf("%s: a stream that was ended with NO_ERROR is taken for one that was given up", c.name)
			}
			time.Sleep(time.Second)
			if conn.judge(r, time.Now()); ended {
				t.Errorf("%s: a second later one is too many", c.name)
			}
		})
	}
}
