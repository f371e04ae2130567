package sse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/sse"
)

// script answers the first request with its first step, and so on; the last
// step repeats. It notes when each request came and what it asked to follow.
type script struct {
	steps []http.HandlerFunc
	begin time.Time
	asked []string // "after <Last-Event-ID> at <time since begin>"
	at    []time.Duration
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	step := s.steps[min(len(s.at), len(s.steps)-1)]
	s.at = append(s.at, time.Since(s.begin))
	s.asked = append(s.asked, r.Header.Get("Last-Event-ID"))
	step(w, r)
}

// stream answers with body and ends.
func stream(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, body)
	}
}

// alive answers with body and stays for d.
func alive(body string, d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sw, err := sse.NewWriter(w)
		if err != nil {
			return
		}
		_, _ = sw.Write([]byte(body))
		wait(r.Context(), d)
	}
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// play runs a client against steps until its events end and returns what it
// yielded, last of all "error: ..." if so.
func play(t *testing.T, cfg sse.ClientConfig, steps ...http.HandlerFunc) ([]string, *script) {
	t.Helper()
	s := &script{steps: steps, begin: time.Now()}
	srv := serve(t, s.ServeHTTP)
	cfg.HTTP = srv.Client
	var got []string
	for e, err := range sse.NewClient("http://test/", cfg).Events(t.Context()) {
		if err != nil {
			got = append(got, "error: "+err.Error())
			continue
		}
		got = append(got, show(e))
	}
	return got, s
}

func TestAClientResumesAfterTheLastID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got, s := play(t, sse.ClientConfig{LastEventID: "0"},
			stream("id: 1\ndata: a\n\ndata: b\n\nid: 9\ndata: lost"),
			stream("id: 2\n\n"),
			stream("data: c\n\nid\ndata: d\n\n"),
			status(http.StatusNoContent))
		if want := []string{`"a" id="1"`, `"b"`, `"c"`, `"d" id=""`}; !slices.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
		if want := []string{"0", "1", "2", ""}; !slices.Equal(s.asked, want) {
			t.Errorf("asked after %q, want %q", s.asked, want)
		}
	})
}

func TestAClientSaysWhatItWants(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := sse.ClientConfig{Header: http.Header{"Authorization": {"Bearer x"}}}
		_, _ = play(t, cfg, func(w http.ResponseWriter, r *http.Request) {
			for name, want := range map[string]string{"Accept": "text/event-stream", "Cache-Control": "no-cache", "Authorization": "Bearer x"} {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if _, ok := r.Header["Last-Event-Id"]; ok {
				t.Error("a Last-Event-ID before there was one")
			}
			w.WriteHeader(http.StatusNoContent)
		})
	})
}

func TestAnAnswerThatIsNoStreamIsAnError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		status int
	}{
		"not found":                 {status(http.StatusNotFound), 404},
		"503 without a time":        {status(http.StatusServiceUnavailable), 503},
		"503 with a time of nobody": {status(http.StatusServiceUnavailable, "Retry-After", "soon"), 503},
		"500 with a time":           {status(http.StatusInternalServerError, "Retry-After", "1"), 500},
		"another type":              {status(http.StatusOK, "Content-Type", "text/html"), 200},
		"no type":                   {status(http.StatusOK, "Content-Type", ""), 200},
		"created":                   {status(http.StatusCreated, "Content-Type", "text/event-stream"), 201},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := serve(t, c.answer)
				var errs []error
				for _, err := range sse.NewClient("http://test/", sse.ClientConfig{HTTP: srv.Client}).Events(t.Context()) {
					errs = append(errs, err)
				}
				var resp *sse.ResponseError
				if len(errs) != 1 || !errors.As(errs[0], &resp) || resp.Status != c.status {
					t.Errorf("%v, want one ResponseError of %d", errs, c.status)
				}
			})
		})
	}
}

func TestAServerThatSaysWhenIsAskedThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		date := time.Now().Add(time.Minute + 5*time.Second).UTC().Format(http.TimeFormat)
		_, s := play(t, sse.ClientConfig{},
			status(http.StatusServiceUnavailable, "Retry-After", "5"),
			status(http.StatusTooManyRequests, "Retry-After", date),
			status(http.StatusNoContent))
		if want := []time.Duration{0, 5 * time.Second, time.Minute + 5*time.Second}; !slices.Equal(s.at, want) {
			t.Errorf("asked at %v, want %v", s.at, want)
		}
	})
}

func TestBackOffGrowsUntilAConnectionIsStable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		cfg := sse.ClientConfig{OnRetry: func(_ error, wait time.Duration) { waits = append(waits, wait) }}
		accepted := alive("data: a\n\n", 4*time.Second) // accepted, but not stable
		_, _ = play(t, cfg, accepted, accepted, accepted, accepted, accepted, accepted, accepted,
			alive("", 6*time.Second), accepted, status(http.StatusNoContent))
		want := [][2]float64{{1, 1.5}, {1.5, 3}, {3, 6}, {6, 12}, {12, 24}, {15, 30}, {15, 30}, {1, 1.5}, {1.5, 3}}
		if len(waits) != len(want) {
			t.Fatalf("waits %v, want %d", waits, len(want))
		}
		for i, w := range waits {
			if w.Seconds() < want[i][0] || w.Seconds() > want[i][1] {
				t.Errorf("wait %d is %v, want within %v", i, w, want[i])
			}
		}
	})
}

func TestTheServersRetryIsHonoured(t *testing.T) {
	t.Parallel()
	for retry, want := range map[string][2]time.Duration{
		"10000":               {10 * time.Second, 15 * time.Second},
		"60000":               {60 * time.Second, 90 * time.Second},
		"0":                   {100 * time.Millisecond, 150 * time.Millisecond},
		"9999999999999999999": {time.Hour, 90 * time.Minute},
	} {
		t.Run(retry, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, s := play(t, sse.ClientConfig{}, stream("retry: "+retry+"\n\n"), status(http.StatusNoContent))
				if len(s.at) != 2 || s.at[1] < want[0] || s.at[1] > want[1] {
					t.Errorf("asked at %v, want within %v", s.at, want)
				}
			})
		})
	}
}

func TestAClientNoticesSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var errs []error
		var ends []time.Duration
		begin := time.Now()
		cfg := sse.ClientConfig{OnRetry: func(err error, _ time.Duration) {
			errs = append(errs, err)
			ends = append(ends, time.Since(begin))
			begin = time.Now()
		}}
		comments := func(w http.ResponseWriter, r *http.Request) {
			sw, err := sse.NewWriter(w)
			if err != nil {
				return
			}
			for range 3 {
				wait(r.Context(), 40*time.Second)
				_ = sw.Comment("alive")
			}
			wait(r.Context(), time.Hour)
		}
		mute := func(_ http.ResponseWriter, r *http.Request) { wait(r.Context(), time.Hour) }
		_, _ = play(t, cfg, comments, mute, status(http.StatusNoContent))
		if len(errs) != 2 || !errors.Is(errs[0], sse.ErrIdle) || !errors.Is(errs[1], sse.ErrIdle) {
			t.Fatalf("%v, want ErrIdle twice", errs)
		}
		if ends[0] != 3*40*time.Second+45*time.Second {
			t.Errorf("the first connection ended after %v, want 45s after the last comment", ends[0])
		}
	})
}

func TestASlowConsumerIsNotADeadConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := serve(t, alive("data: a\n\ndata: b\n\n", 3*time.Minute))
		c := sse.NewClient("http://test/", sse.ClientConfig{HTTP: srv.Client, OnRetry: func(err error, _ time.Duration) { t.Error(err) }})
		n := 0
		for _, err := range c.Events(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // of the bubble's time
			if n++; n == 2 {
				break
			}
		}
	})
}

func TestAClientStopsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := serve(t, alive("data: a\n\n", time.Hour))
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("enough"))
		defer cancel()
		begin := time.Now()
		var got []string
		for e, err := range sse.NewClient("http://test/", sse.ClientConfig{HTTP: srv.Client}).Events(ctx) {
			got = append(got, fmt.Sprint(string(e.Data), err))
		}
		if want := []string{"a<nil>", "sse: events: enough"}; !slices.Equal(got, want) || time.Since(begin) != 10*time.Second {
			t.Errorf("%q after %v, want %q after 10s", got, time.Since(begin), want)
		}
	})
}

func TestLeavingTheLoopClosesTheConnectionAndKeepsThePlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{}, 2)
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
			defer func() { closed <- struct{}{} }()
			alive("id: "+r.Header.Get("Last-Event-ID")+"1\ndata: a\n\n", time.Hour)(w, r)
		})
		c := sse.NewClient("http://test/", sse.ClientConfig{HTTP: srv.Client})
		for _, want := range []string{"1", "11"} {
			for range c.Events(t.Context()) {
				break
			}
			<-closed
			if c.LastEventID() != want {
				t.Errorf("last event id %q, want %q", c.LastEventID(), want)
			}
		}
	})
}

func TestAConnectionThatFailsIsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		abort := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		got, s := play(t, sse.ClientConfig{}, abort, stream("data: a\n\n"), abort, status(http.StatusNoContent))
		if want := []string{`"a"`}; !slices.Equal(got, want) || len(s.at) != 4 {
			t.Errorf("events %v in %d connections, want %v in 4", got, len(s.at), want)
		}
	})
}

func TestAnEventOverTheClientsLimitEndsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got, s := play(t, sse.ClientConfig{MaxEvent: 100}, stream("data: a\n\ndata: "+strings.Repeat("x", 200)+"\n\n"))
		if len(got) != 2 || got[1] != "error: "+sse.ErrTooLarge.Error() || len(s.at) != 1 {
			t.Errorf("%v in %d connections", got, len(s.at))
		}
	})
}

func TestAnIDThatNoHeaderCarriesIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got, s := play(t, sse.ClientConfig{}, stream("id: \x01\ndata: a\n\n"))
		if len(got) != 2 || !strings.Contains(got[1], "header") || len(s.at) != 1 {
			t.Errorf("%v in %d connections", got, len(s.at))
		}
	})
}

func TestAURLThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	for _, err := range sse.NewClient("http://a b/", sse.ClientConfig{}).Events(t.Context()) {
		if err == nil {
			t.Error("no error")
		}
	}
}
