package listen_test

import (
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
)

func TestAConnectionThatIsKeptSaysForHowLong(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/close":
				w.Header().Set("Connection", "close")
			case "/empty":
				return
			case "/switch":
				w.Header().Set("Connection", "upgrade")
				w.WriteHeader(http.StatusSwitchingProtocols)
				return
			}
			_, _ = io.WriteString(w, "here")
		})
		for _, c := range []struct{ request, want string }{
			{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "timeout=75"},
			{"GET /empty HTTP/1.1\r\nHost: a\r\n\r\n", "timeout=75"},
			{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", ""}, // of which the body was not read
			{"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", ""},
			{"GET /close HTTP/1.1\r\nHost: a\r\n\r\n", ""},
			{"GET / HTTP/1.0\r\n\r\n", ""},
			{"GET /switch HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		} {
			conn := dial1(t, n)
			conn.send(c.request)
			resp, err := http.ReadResponse(conn.r, nil)
			if err != nil {
				t.Fatalf("%q: %v", c.request, err)
			}
			if got := resp.Header.Get("Keep-Alive"); got != c.want {
				t.Errorf("%q: Keep-Alive: %q, want %q", c.request, got, c.want)
			}
			_ = conn.Close()
		}

		conn := dial1(t, n)
		conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		conn.answer("GET")
		began := time.Now()
		if err := conn.ended(); err != io.EOF || time.Since(began) != 75*time.Second {
			t.Errorf("idle: %v after %v", err, time.Since(began))
		}
	})
}

func TestAnOldConnectionIsAskedToEndAndItsOtherStreamsGoOn(t *testing.T) {
	simulated(t, func(t *testing.T) {
		events := make(chan string)
		n := serve(t, listen.Config{Timeouts: listen.Timeouts{MaxAge: time.Minute, Idle: time.Hour}}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/events" {
				return
			}
			_ = http.NewResponseController(w).Flush()
			for e := range events {
				_, _ = io.WriteString(w, e)
				_ = http.NewResponseController(w).Flush()
			}
		})

		one := dial1(t, n)
		two := dial2(t, n)
		for range 2 {
			one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if resp, _ := one.answer("GET"); resp.Close {
				t.Error("a young connection is to end")
			}
		}
		stream := two.ask("GET", "/events", false)
		if f, ok := two.frame().(*http2.MetaHeadersFrame); !ok || f.StreamID != stream {
			t.Fatal("no header")
		}
		two.rest(67 * time.Second) // more than a minute and 10 %

		one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, _ := one.answer("GET"); !resp.Close || resp.Header.Get("Keep-Alive") != "" {
			t.Errorf("an old connection stays: %v", resp.Header)
		}
		if err := one.ended(); err != io.EOF {
			t.Error(err)
		}

		two.ask("GET", "/", false)
		var goaway, answered bool
		for !goaway || !answered {
			switch f := two.frame().(type) {
			case *http2.GoAwayFrame:
				goaway = f.ErrCode == http2.ErrCodeNo
			case *http2.MetaHeadersFrame:
				answered = f.PseudoValue("status") == "200"
			default:
				t.Fatalf("%v", f)
			}
		}
		two.rest(67 * time.Second)
		events <- "still here"
		if f, ok := two.frame().(*http2.DataFrame); !ok || string(f.Data()) != "still here" {
			t.Errorf("%v", f)
		}
		close(events)
		if f, ok := two.frame().(*http2.DataFrame); !ok || !f.StreamEnded() || two.frame() != nil {
			t.Errorf("%v", f)
		}
	})
}

func TestConnectionsDoNotAllEndAtOneTime(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{Timeouts: listen.Timeouts{MaxAge: 100 * time.Second}}, func(http.ResponseWriter, *http.Request) {})
		var ages []time.Duration
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 20 {
			c := dial1(t, n)
			all.Go(func() {
				began := time.Now()
				for {
					c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
					if resp, _ := c.answer("GET"); resp.Close {
						break
					}
					time.Sleep(time.Second)
				}
				mu.Lock()
				defer mu.Unlock()
				ages = append(ages, time.Since(began))
			})
		}
		all.Wait()
		slices.Sort(ages)
		if ages[0] < 90*time.Second || ages[19] > 111*time.Second || ages[0] == ages[19] {
			t.Errorf("they ended after %v", ages)
		}
	})
}

func TestNothingIsSaidToBeKeptByAServerThatShutsDown(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := memnet.New()
		release := make(chan struct{})
		s := serveOn(t, n, listen.Config{}, func(_ http.ResponseWriter, _ *http.Request) { <-release })
		c := dial1(t, n)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		synctest.Wait()
		var stopping sync.WaitGroup
		stopping.Go(func() {
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		close(release)
		if resp, _ := c.answer("GET"); !resp.Close || resp.Header.Get("Keep-Alive") != "" {
			t.Errorf("%v", resp.Header)
		}
		stopping.Wait()
	})
}
