package client_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead/client"
)

// delays records the delays before connections, which are within a spread.
type delays []time.Duration

func (d *delays) note(_ error, delay time.Duration) { *d = append(*d, delay) }

// ended answers that there is nothing more.
func ended(by client.Transport) http.HandlerFunc {
	if by == client.GRPC {
		return answer(nil)
	}
	return status(204)
}

func (d *delays) within(t *testing.T, bounds ...[2]time.Duration) {
	t.Helper()
	if len(*d) != len(bounds) {
		t.Fatalf("delays %v, want %d of them", *d, len(bounds))
	}
	for i, b := range bounds {
		if (*d)[i] < b[0] || (*d)[i] > b[1] {
			t.Errorf("delay %d is %v, want it within %v", i, (*d)[i], b)
		}
	}
}

func TestTheDelayDoublesAndIsKeptToExactly(t *testing.T) {
	t.Parallel()
	for _, transport := range transports {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, replies(status(500), status(502), status(503), status(500), status(504), ended(transport)))
				var d delays
				began := time.Now()
				items, err := collect(t.Context(), url, client.Config{
					Transport: transport, HTTP: s.Client, After: "c", MinBackoff: time.Second, MaxBackoff: 4 * time.Second, OnRetry: d.note,
				})
				if err != nil || slices.ContainsFunc(items, func(item string) bool { return item != "end@c" }) {
					t.Errorf("%v, %v", items, err)
				}
				d.within(t, [2]time.Duration{time.Second / 2, time.Second}, [2]time.Duration{time.Second, 2 * time.Second},
					[2]time.Duration{2 * time.Second, 4 * time.Second}, [2]time.Duration{2 * time.Second, 4 * time.Second}, [2]time.Duration{2 * time.Second, 4 * time.Second})
				sum := time.Duration(0)
				for _, delay := range d {
					sum += delay
				}
				if waited := time.Since(began); waited != sum {
					t.Errorf("waited %v, said %v", waited, sum)
				}
			})
		})
	}
}

func TestOnlyAStableConnectionMakesTheDelaySmallAgain(t *testing.T) {
	t.Parallel()
	for lived, small := range map[time.Duration]bool{9 * time.Second: false, 10 * time.Second: true} {
		synctest.Test(t, func(t *testing.T) {
			live := func(w http.ResponseWriter, r *http.Request) {
				stream(":\n")(w, r)
				time.Sleep(lived)
			}
			s := serve(t, replies(status(500), status(500), live, status(204)))
			var d delays
			_, _ = collect(t.Context(), url, client.Config{HTTP: s.Client, OnRetry: d.note})
			last := [2]time.Duration{time.Second, 2 * time.Second}
			if small {
				last = [2]time.Duration{time.Second / 4, time.Second / 2}
			}
			d.within(t, [2]time.Duration{time.Second / 4, time.Second / 2}, [2]time.Duration{time.Second / 2, time.Second}, last)
		})
	}
}

// What a connection gave does not make the next failures start small, but it
// does not count as one of them either.
func TestAConnectionThatLedSomewhereDoesNotMakeTheDelayGrow(t *testing.T) {
	t.Parallel()
	event := func(id int, more string) http.HandlerFunc {
		return cut(fmt.Sprintf("%sid: %d\ndata: a\n\n", more, id))
	}
	small, double := [2]time.Duration{time.Second / 4, time.Second / 2}, [2]time.Duration{time.Second / 2, time.Second}
	for name, c := range map[string]struct {
		all  []http.HandlerFunc
		want [][2]time.Duration
	}{
		"events": {
			[]http.HandlerFunc{event(1, ""), event(2, ""), event(3, ""), event(4, ""), status(204)},
			[][2]time.Duration{small, small, small, small},
		},
		"events of a server that says when to come back": {
			[]http.HandlerFunc{event(1, "retry: 2000\n\n"), event(2, ""), event(3, ""), status(204)},
			[][2]time.Duration{{2 * time.Second, 3 * time.Second}, {2 * time.Second, 3 * time.Second}, {2 * time.Second, 3 * time.Second}},
		},
		"events between failures": {
			[]http.HandlerFunc{status(500), event(1, ""), status(500), status(204)},
			[][2]time.Duration{small, small, double},
		},
		"the same event again and again": {
			[]http.HandlerFunc{event(1, ""), event(1, ""), event(1, ""), status(204)},
			[][2]time.Duration{small, small, double},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, replies(c.all...))
				var d delays
				if _, err := collect(t.Context(), url, client.Config{HTTP: s.Client, OnRetry: d.note}); err != nil {
					t.Error(err)
				}
				d.within(t, c.want...)
			})
		})
	}
}

func TestAHintOfTheServerIsKeptWithinBounds(t *testing.T) {
	t.Parallel()
	spread := func(d time.Duration) [2]time.Duration { return [2]time.Duration{d, d * 3 / 2} }
	closing := func(code int, messages ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			c := accept(w, r)
			say(c, messages...)
			_ = c.Close(code, "")
		}
	}
	for name, c := range map[string]struct {
		transport client.Transport
		first     http.HandlerFunc
		want      [2]time.Duration
	}{
		"Retry-After":                 {client.SSE, status(503, "Retry-After", "7"), spread(7 * time.Second)},
		"Retry-After of 429, polling": {client.Poll, status(429, "Retry-After", "7"), spread(7 * time.Second)},
		"Retry-After of a handshake":  {client.WebSocket, status(503, "Retry-After", "7"), spread(7 * time.Second)},
		"Retry-After past all bounds": {client.SSE, status(503, "Retry-After", "9223372036854775807"), spread(time.Hour)},
		"Retry-After as a date": {client.SSE, func(w http.ResponseWriter, r *http.Request) {
			status(503, "Retry-After", time.Now().Add(9*time.Second).UTC().Format(http.TimeFormat))(w, r)
		}, spread(9 * time.Second)},
		"Retry-After of the past":  {client.SSE, status(503, "Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT"), [2]time.Duration{time.Second / 4, time.Second / 2}},
		"Retry-After below zero":   {client.SSE, status(503, "Retry-After", "-5"), [2]time.Duration{time.Second / 4, time.Second / 2}},
		"retry":                    {client.SSE, stream("retry: 7000\n\n"), spread(7 * time.Second)},
		"retry past all bounds":    {client.SSE, stream("retry: 99999999999999999999\n\n"), spread(time.Hour)},
		"draining, as an event":    {client.SSE, stream("event: fairlead.draining\ndata: {\"retry_after_ms\":7000}\n\n"), spread(7 * time.Second)},
		"draining, as a message":   {client.WebSocket, closing(1012, `{"draining":{"retry_after_ms":7000}}`), spread(7 * time.Second)},
		"draining past all bounds": {client.WebSocket, closing(1013, `{"draining":{"retry_after_ms":9223372036854775807}}`), spread(time.Hour)},
		"Retry-After of a call":    {client.GRPC, status(503, "Retry-After", "7"), spread(7 * time.Second)},
		"RetryInfo":                {client.GRPC, answer(refusal(connect.CodeUnavailable, retryIn(7*time.Second))), spread(7 * time.Second)},
		"RetryInfo past bounds":    {client.GRPC, answer(refusal(connect.CodeUnavailable, retryIn(1<<62))), spread(time.Hour)},
		"RetryInfo below zero":     {client.GRPC, answer(refusal(connect.CodeUnavailable, retryIn(-7))), [2]time.Duration{time.Second / 4, time.Second / 2}},
		"pushback":                 {client.GRPC, answer(pushback("7000")), spread(7 * time.Second)},
		"pushback past all bounds": {client.GRPC, answer(pushback("9223372036854775807")), spread(time.Hour)},
		"pushback below zero":      {client.GRPC, answer(pushback("-1")), [2]time.Duration{time.Second / 4, time.Second / 2}},
		"draining below zero":      {client.WebSocket, closing(1013, `{"draining":{"retry_after_ms":-7}}`), [2]time.Duration{time.Second / 4, time.Second / 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, replies(c.first, ended(c.transport)))
				var d delays
				items, err := collect(t.Context(), url, client.Config{Transport: c.transport, HTTP: s.Client, After: "c", OnRetry: d.note})
				if err != nil || slices.ContainsFunc(items, func(item string) bool { return item != "end@c" }) {
					t.Errorf("%v, %v", items, err)
				}
				d.within(t, c.want)
			})
		})
	}
}
