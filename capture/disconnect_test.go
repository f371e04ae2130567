package capture_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/capture"
)

// alive reports whether the upstream's call goes on.
func (c *call) alive() bool {
	synctest.Wait()
	return c.req.Context().Err() == nil
}

func TestTheLastReaderToLeaveDecides(t *testing.T) {
	t.Parallel()
	post := func(ctx context.Context, headers ...string) *http.Request {
		return request(ctx, "POST", target, "{}", headers...)
	}
	eventSource := func(ctx context.Context, headers ...string) *http.Request {
		return request(ctx, "GET", target, "", append(headers, "Accept", "text/event-stream")...)
	}
	for _, c := range []struct {
		name    string
		policy  capture.OnDisconnect
		request func(context.Context, ...string) *http.Request
		headers []string
		alive   time.Duration // 0: not at all; -1: for ever
	}{
		{"a POST is cancelled", capture.Default, post, nil, 0},
		{"an EventSource's GET lingers 60 s", capture.Default, eventSource, nil, time.Minute},
		{"a POST with a key lingers 60 s", capture.Default, post, []string{"Idempotency-Key", "k"}, time.Minute},
		{"cancel cancels an EventSource's too", capture.Cancel, eventSource, nil, 0},
		{"cancel cancels one with a key too", capture.Cancel, post, []string{"Idempotency-Key", "k"}, 0},
		{"linger is as long as it says", capture.Linger(5 * time.Second), post, nil, 5 * time.Second},
		{"continue continues", capture.Continue, post, nil, -1},
	} {
		for _, early := range []bool{false, true} {
			name := c.name
			if early {
				name += ", also before the headers"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFixture(t, capture.Config{OnDisconnect: c.policy}, capture.StoreConfig{})
					ctx, leave := context.WithCancel(t.Context())
					if early {
						f.up.hold = make(chan struct{})
						go func() {
							<-f.up.came
							time.Sleep(time.Second)
							leave()
						}()
						if _, err := f.rt.RoundTrip(c.request(ctx, c.headers...)); !errors.Is(err, context.Canceled) {
							t.Errorf("error %v", err)
						}
					} else {
						resp := f.do(c.request(ctx, c.headers...))
						io.WriteString(f.up.calls[0], "data: a\n\n")
						next(t, resp.Body, 1)
						leave()
						if _, err := readAll(resp.Body); err == nil {
							t.Error("the body of a client that left ends cleanly")
						}
					}
					first := f.up.calls[0]
					if c.alive == 0 {
						if first.alive() {
							t.Error("the call goes on")
						}
						return
					}
					if !first.alive() {
						t.Fatal("the call was cancelled at once")
					}
					time.Sleep(c.alive - time.Second)
					if !first.alive() {
						t.Error("the call was cancelled too early")
					}
					time.Sleep(2 * time.Second)
					if c.alive > 0 && first.alive() {
						t.Error("the call goes on past its time")
					}
					if c.alive < 0 {
						time.Sleep(time.Hour)
						if !first.alive() {
							t.Error("the call was cancelled")
						}
						first.Close()
					}
				})
			})
		}
	}
}

func TestAnyReaderKeepsTheCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, capture.Config{OnDisconnect: capture.Linger(time.Second)}, capture.StoreConfig{})
		first := f.get("Idempotency-Key", "k")
		c := <-f.up.came
		second := f.get("Idempotency-Key", "k")
		first.Body.Close()
		time.Sleep(time.Minute)
		if !c.alive() {
			t.Fatal("the call was cancelled although it has a reader")
		}
		second.Body.Close()
		time.Sleep(time.Second / 2)
		third := f.get("Idempotency-Key", "k") // in time
		time.Sleep(time.Minute)
		if !c.alive() {
			t.Fatal("the call was cancelled although its reader came back")
		}
		io.WriteString(c, "data: a\n\n")
		c.Close()
		body, err := readAll(third.Body)
		if err != nil {
			t.Error(err)
		}
		wantEvents(t, body, "a")
	})
}

func TestDeleteCancelsAtOnce(t *testing.T) {
	t.Parallel()
	for how, path := range map[string]func(*cell) string{
		"by id":            func(x *cell) string { return x.url },
		"by key":           func(*cell) string { return capture.Prefix + "?key=k1" },
		"by key in quotes": func(*cell) string { return capture.Prefix + "?key=%22k1%22" },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			x := inState(t, "live", capture.Config{OnDisconnect: capture.Continue}, owned...)
			io.WriteString(x.call, "data: unread\n\n")
			served := make(chan string)
			go func() { served <- x.own("GET", x.url, owned[:2:2]...).Body.String() }()
			repeat := x.get(owned...)
			if w := x.own("DELETE", path(x), owned...); w.Code != 204 {
				t.Fatalf("status %d", w.Code)
			}
			for name, resp := range map[string]*http.Response{"first reader": x.resp, "repeat": repeat} {
				if body, err := readAll(resp.Body); body != "" || fairlead.AsError(err).Code != fairlead.Cancelled {
					t.Errorf("the %s reads %q, %v", name, body, err)
				}
			}
			<-x.call.req.Context().Done()
			data, _ := events(<-served)
			if len(data) == 0 || data[len(data)-1] != fairlead.TypeFault {
				t.Errorf("the stream's own URL gives %q", data)
			}
			w := x.own("GET", x.url, owned[:2:2]...)
			wantEvents(t, w.Body.String(), "a", "b", "unread", fairlead.TypeFault)
			if w := x.own("DELETE", x.url, owned...); w.Code != 204 {
				t.Errorf("again: status %d", w.Code)
			}
		})
	}
	t.Run("by key before the first byte", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, capture.Config{}, capture.StoreConfig{})
		f.up.hold = make(chan struct{})
		failed := make(chan error)
		go func() {
			_, err := f.rt.RoundTrip(request(t.Context(), "POST", target, "{}", "Idempotency-Key", "k1"))
			failed <- err
		}()
		c := <-f.up.came
		if w := f.own("DELETE", capture.Prefix+"?key=k1"); w.Code != 204 {
			t.Fatalf("status %d", w.Code)
		}
		<-c.req.Context().Done()
		if err := <-failed; fairlead.AsError(err).Code != fairlead.Cancelled {
			t.Errorf("error %v", err)
		}
	})
	t.Run("without or with a wrong key", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, capture.Config{}, capture.StoreConfig{})
		for path, want := range map[string]int{capture.Prefix: 400, capture.Prefix + "?key=": 400, capture.Prefix + "?key=k": 404} {
			if w := f.own("DELETE", path); w.Code != want {
				t.Errorf("%s: status %d, want %d", path, w.Code, want)
			}
		}
		if w := f.own("GET", capture.Prefix+"?key=k"); w.Code != 405 || w.Header().Get("Allow") != "DELETE" {
			t.Errorf("GET: status %d", w.Code)
		}
	})
}

func TestASilentUpstreamIsCoveredByComments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, capture.Config{}, capture.StoreConfig{})
		resp := f.get()
		c := <-f.up.came
		began := time.Now()
		buf := make([]byte, 100)
		for i := range 3 {
			n, err := resp.Body.Read(buf)
			if string(buf[:n]) != ": \n" || err != nil || time.Since(began) != time.Duration(i+1)*15*time.Second {
				t.Errorf("after %v: %q, %v", time.Since(began), buf[:n], err)
			}
		}
		time.Sleep(10 * time.Second)
		io.WriteString(c, "id: 1\ndata: a\n\n")
		began = time.Now()
		next(t, resp.Body, 1)
		n, err := resp.Body.Read(buf)
		if string(buf[:n]) != ": \n" || err != nil || time.Since(began) != 15*time.Second {
			t.Errorf("after %v: %q, %v", time.Since(began), buf[:n], err)
		}
		go func() {
			time.Sleep(40 * time.Second)
			c.Close()
		}()
		w := f.own("GET", resp.Header.Get("Content-Location"))
		data, _ := events(w.Body.String())
		if len(data) != 2 || len(w.Body.String()) < 20 {
			t.Errorf("own URL: %q", w.Body)
		}
	})
}

func TestAResponseIsBegunBeforeTheUpstreams(t *testing.T) {
	t.Parallel()
	cfg := capture.Config{CommitAfter: 10 * time.Second}
	asks := map[string]*http.Request{
		"Accept":         request(t.Context(), "GET", target, "", "Accept", "application/json, text/event-stream;q=0.9"),
		"stream in JSON": request(t.Context(), "POST", target, `{"stream":true}`, "Content-Type", "application/json"),
	}
	for name, r := range asks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, cfg, capture.StoreConfig{})
				f.up.hold = make(chan struct{})
				began := time.Now()
				resp := f.do(r.Clone(t.Context()))
				if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Content-Location") == "" || time.Since(began) != 10*time.Second {
					t.Errorf("after %v: %d %v", time.Since(began), resp.StatusCode, resp.Header)
				}
				buf := make([]byte, 10)
				if n, _ := resp.Body.Read(buf); string(buf[:n]) != ": \n" {
					t.Errorf("first %q", buf[:n])
				}
				close(f.up.hold)
				c := <-f.up.came
				io.WriteString(c, "data: a\n\n")
				c.Close()
				body, err := readAll(resp.Body)
				if err != nil {
					t.Error(err)
				}
				wantEvents(t, body, "a")
			})
		})
	}
	t.Run("not for others", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, cfg, capture.StoreConfig{})
			f.up.hold = make(chan struct{})
			time.AfterFunc(time.Minute, func() { close(f.up.hold) })
			began := time.Now()
			f.do(request(t.Context(), "POST", target, `{"stream":false}`, "Content-Type", "application/json"))
			if time.Since(began) != time.Minute {
				t.Errorf("after %v", time.Since(began))
			}
		})
	})
	t.Run("an answer that is no event stream is a fault", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, cfg, capture.StoreConfig{})
			f.up.hold = make(chan struct{})
			f.up.status, f.up.header = 500, http.Header{"Content-Type": {"application/json"}}
			resp := f.get()
			close(f.up.hold)
			if _, err := readAll(resp.Body); fairlead.AsError(err).Code != fairlead.Fault {
				t.Errorf("error %v", err)
			}
		})
	})
}
