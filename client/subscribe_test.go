package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
)

// mute never answers.
func mute(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// delays records the delays before connections, which are within a spread.
type delays []time.Duration

func (d *delays) note(_ error, delay time.Duration) { *d = append(*d, delay) }

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
	for _, transport := range []client.Transport{client.SSE, client.WebSocket, client.Poll} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, replies(status(500), status(502), status(503), status(500), status(504), status(204)))
				var d delays
				began := time.Now()
				items, err := collect(t.Context(), url, client.Config{
					Transport: transport, HTTP: s.Client, After: "c", MinBackoff: time.Second, MaxBackoff: 4 * time.Second, OnRetry: d.note,
				})
				if items != nil || err != nil {
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

// A topic with one reader may still have this one's last connection.
func TestAReaderThatMeetsItsOwnLastConnectionTriesAgain(t *testing.T) {
	t.Parallel()
	for transport, first := range map[client.Transport]http.HandlerFunc{
		client.SSE:       cut("id: 1\ndata: a\n\n"),
		client.WebSocket: dropping(`{"cursor":"1","data":"a"}`),
		client.Poll:      page(`{"events":[{"cursor":"1","data":"a"}],"next":"1","closed":false}`),
	} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, replies(first, status(409), status(409), status(204)))
				tries := 0
				items, err := collect(t.Context(), url, client.Config{
					Transport: transport, HTTP: s.Client, After: "0", OnRetry: func(error, time.Duration) { tries++ },
				})
				if want := []string{"a@1"}; !slices.Equal(items, want) || err != nil || tries < 2 {
					t.Errorf("%q, %v after %d tries", items, err, tries)
				}
			})
		})
	}
}

func TestAServerThatFallsSilentIsLeftAndNeverCountsAsStable(t *testing.T) {
	t.Parallel()
	silent := func(w http.ResponseWriter, r *http.Request) {
		stream("id: 1\ndata: a\n\n")(w, r)
		<-r.Context().Done()
	}
	for name, h := range map[string]http.HandlerFunc{"after an event": silent, "before the header": mute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, gets(replies(h, h, h, status(204))))
				var d delays
				var why []error
				began := time.Now()
				_, err := collect(t.Context(), url, client.Config{HTTP: s.Client, After: "1", OnRetry: func(err error, delay time.Duration) {
					why = append(why, err)
					d.note(err, delay)
				}})
				if err != nil || time.Since(began) != 3*45*time.Second+d[0]+d[1]+d[2] {
					t.Errorf("%v after %v", err, time.Since(began))
				}
				d.within(t, [2]time.Duration{time.Second / 4, time.Second / 2}, [2]time.Duration{time.Second / 2, time.Second}, [2]time.Duration{time.Second, 2 * time.Second})
				for _, err := range why {
					if !strings.Contains(err.Error(), "fell silent for 45s") {
						t.Error(err)
					}
				}
			})
		})
	}
}

func TestASlowConsumerIsNotASilentServer(t *testing.T) {
	t.Parallel()
	for transport, h := range map[client.Transport]http.HandlerFunc{
		client.SSE: func(w http.ResponseWriter, r *http.Request) {
			stream("id: 1\ndata: a\n\n")(w, r)
			time.Sleep(time.Minute)
			stream("id: 2\ndata: b\n\nevent: fairlead.end\ndata: {}\n\n")(w, r)
		},
		client.WebSocket: func(w http.ResponseWriter, r *http.Request) {
			c := accept(w, r)
			say(c, `{"cursor":"1","data":"a"}`)
			time.Sleep(time.Minute)
			say(c, `{"cursor":"2","data":"b"}`, `{"end":{}}`)
			_ = c.CloseNow()
		},
	} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, h)
				var items []string
				for item, err := range client.Subscribe(t.Context(), url, client.Config{
					Transport: transport, HTTP: s.Client, After: "0", OnRetry: func(err error, _ time.Duration) { t.Error(err) },
				}) {
					if err != nil {
						t.Fatal(err)
					}
					items = append(items, show(&item))
					time.Sleep(time.Minute)
				}
				if want := []string{"a@1", "b@2", "end@2"}; !slices.Equal(items, want) {
					t.Errorf("%q, want %q", items, want)
				}
			})
		})
	}
}

func TestAnyByteIsASignOfLife(t *testing.T) {
	t.Parallel()
	for transport, h := range map[client.Transport]http.HandlerFunc{
		client.SSE: func(w http.ResponseWriter, r *http.Request) {
			for range 10 {
				stream(":\n")(w, r)
				time.Sleep(40 * time.Second)
			}
			stream("event: fairlead.end\ndata: {}\n\n")(w, r)
		},
		client.WebSocket: func(w http.ResponseWriter, r *http.Request) {
			c := accept(w, r)
			go func() { _, _, _ = c.Read() }() // the pongs
			for range 10 {
				_ = c.Ping(nil)
				time.Sleep(40 * time.Second)
			}
			say(c, `{"end":{}}`)
			_ = c.CloseNow()
		},
		client.Poll: func() http.HandlerFunc {
			empty := func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(30 * time.Second)
				page(`{"events":[],"next":"0","closed":false}`)(w, r)
			}
			return replies(empty, empty, empty, empty, page(`{"events":[],"next":"0","closed":true}`))
		}(),
	} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, h)
				items, err := collect(t.Context(), url, client.Config{
					Transport: transport, HTTP: s.Client, After: "0", OnRetry: func(err error, _ time.Duration) { t.Error(err) },
				})
				if want := []string{"end@0"}; !slices.Equal(items, want) || err != nil {
					t.Errorf("%q, %v, want %q", items, err, want)
				}
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
		"draining below zero":      {client.WebSocket, closing(1013, `{"draining":{"retry_after_ms":-7}}`), [2]time.Duration{time.Second / 4, time.Second / 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, replies(c.first, status(204)))
				var d delays
				items, err := collect(t.Context(), url, client.Config{Transport: c.transport, HTTP: s.Client, After: "c", OnRetry: d.note})
				if items != nil || err != nil {
					t.Errorf("%v, %v", items, err)
				}
				d.within(t, c.want)
			})
		})
	}
}

func TestWhatTryingAgainWouldNotMendIsAnError(t *testing.T) {
	t.Parallel()
	problem := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(code)
			fmt.Fprint(w, text)
		}
	}
	for name, c := range map[string]struct {
		transport client.Transport
		h         http.HandlerFunc
		want      fairlead.Code
	}{
		"no topic":                    {client.SSE, status(404), fairlead.NotFound},
		"no topic, polling":           {client.Poll, status(404), fairlead.NotFound},
		"no topic, WebSocket":         {client.WebSocket, status(404), fairlead.NotFound},
		"a gap that was to fail":      {client.SSE, problem(410, `{"code":"out_of_range","detail":"gone"}`), fairlead.OutOfRange},
		"a status that is nobody's":   {client.SSE, status(418), fairlead.InvalidArgument},
		"a code of another status":    {client.SSE, problem(403, `{"code":"draining","detail":"x"}`), fairlead.PermissionDenied},
		"a second reader":             {client.Poll, problem(409, `{"code":"conflict","detail":"x"}`), fairlead.Conflict},
		"a second reader, streaming":  {client.SSE, problem(409, `{"code":"conflict","detail":"x"}`), fairlead.Conflict},
		"no stream":                   {client.SSE, page(`{}`), fairlead.NotAcceptable},
		"no page":                     {client.Poll, stream(""), fairlead.NotAcceptable},
		"a page without next":         {client.Poll, page(`{}`), fairlead.NotAcceptable},
		"a page that is not JSON":     {client.Poll, page(`<html>`), fairlead.NotAcceptable},
		"no WebSocket":                {client.WebSocket, page(`{}`), fairlead.NotAcceptable},
		"an event that is too large":  {client.SSE, stream("data: " + strings.Repeat("x", 1<<10) + "\n\n"), fairlead.TooLarge},
		"an id that cannot be sent":   {client.SSE, stream("id: \x01\ndata: x\n\n"), fairlead.InvalidArgument},
		"a transport there is not":    {"pigeon", status(200), fairlead.InvalidArgument},
		"a message that is too large": {client.WebSocket, sending(strings.Repeat(" ", 1<<10+1)), fairlead.TooLarge},
		"a message that is none":      {client.WebSocket, sending("hello"), fairlead.NotAcceptable},
		"close 4410":                  {client.WebSocket, closing(4410), fairlead.OutOfRange},
		"close 4404":                  {client.WebSocket, closing(4404), fairlead.NotFound},
		"close 4500":                  {client.WebSocket, closing(4500), fairlead.Fault},
		"close 1008":                  {client.WebSocket, closing(1008), fairlead.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, c.h)
				_, err := collect(t.Context(), url, client.Config{Transport: c.transport, HTTP: s.Client, After: "c", MaxEvent: 1 << 10})
				if code := codeOf(t, err); code != c.want {
					t.Errorf("%v, want %s", err, c.want)
				}
			})
		})
	}
}

func TestAURLThatNobodyCanConnectToIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "topics/a", "localhost:8080/topics/a", "ftp://host/", "http://", "http://[", "unix:/path"} {
		if _, err := collect(t.Context(), bad, client.Config{}); codeOf(t, err) != fairlead.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := client.Publish(t.Context(), bad, fairlead.Event{}, client.Config{}); codeOf(t, err) != fairlead.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := collect(t.Context(), url, client.Config{Token: "a\nb"}); codeOf(t, err) != fairlead.InvalidArgument {
		t.Error(err)
	}
}

func TestWhenTheContextEndsTheErrorIsItsCause(t *testing.T) {
	t.Parallel()
	why := errors.New("enough")
	hang := func(w http.ResponseWriter, r *http.Request) {
		stream(":\n")(w, r)
		<-r.Context().Done()
	}
	for _, transport := range []client.Transport{client.SSE, client.WebSocket, client.Poll} {
		h := map[client.Transport]http.HandlerFunc{client.SSE: hang, client.WebSocket: sending(), client.Poll: mute}[transport]
		for name, h := range map[string]http.HandlerFunc{"while it reads": h, "between connections": status(500)} {
			t.Run(string(transport)+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := serve(t, h)
					ctx, cancel := contextUntil(t, 700*time.Millisecond, why)
					defer cancel()
					began := time.Now()
					if _, err := collect(ctx, url, client.Config{Transport: transport, HTTP: s.Client, After: "c", MinBackoff: time.Minute}); err != why {
						t.Error(err)
					}
					if waited := time.Since(began); waited != 700*time.Millisecond {
						t.Errorf("after %v", waited)
					}
				})
			})
		}
	}
}

func TestBreakingOffTheLoopClosesTheConnection(t *testing.T) {
	t.Parallel()
	for transport, h := range map[client.Transport]func(gone chan struct{}) http.HandlerFunc{
		client.SSE: func(gone chan struct{}) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				stream("data: a\n\ndata: b\n\n")(w, r)
				<-r.Context().Done()
				close(gone)
			}
		},
		client.WebSocket: func(gone chan struct{}) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				c := accept(w, r)
				say(c, `{"cursor":"1","data":"a"}`)
				_, _, _ = c.Read()
				_ = c.CloseNow()
				close(gone)
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			gone := make(chan struct{})
			s := serve(t, gets(h(gone)))
			for _, err := range client.Subscribe(t.Context(), url, client.Config{Transport: transport, HTTP: s.Client, After: "0"}) {
				if err != nil {
					t.Error(err)
				}
				break
			}
			<-gone
		})
	}
}
