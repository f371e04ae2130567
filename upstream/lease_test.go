package upstream_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// begins answers each request with the beginning of a response; what comes
// after it is up to the test.
func begins(text string) func(*peer) {
	return func(p *peer) {
		for {
			if _, ok := p.next(); !ok {
				return
			}
			p.send(text)
		}
	}
}

func TestAResponseThatSaysCloseEndsItsConnection(t *testing.T) {
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		if first, second := s.get(""), s.get(""); first != "0" || second != "1" {
			t.Errorf("connections %s and %s", first, second)
		}
		synctest.Wait()
		s.saw("closed", "response: the response said so; 1 requests", "response: ")
	}, &origin{serve: patient(time.Hour, "Connection: close")})
}

func TestAShortRestIsReadForTheConnectionsSake(t *testing.T) {
	o := &origin{serve: begins("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshort")}
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		for range 3 {
			res, err := s.send(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
		}
		if n := len(o.dials()); n != 1 {
			t.Errorf("%d dials", n)
		}
	}, o)
}

func TestALongOrLateRestCostsTheConnection(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"long":   "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nlong",
		"late":   "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nlate",
		"stream": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
				res, err := s.send(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				_ = res.Body.Close()
				if took := time.Since(began); took > 5*time.Millisecond || took > 0 && name != "late" {
					t.Errorf("Close took %v", took)
				}
				synctest.Wait()
				s.saw("closed", "client_abort: the caller left before the response's end; 1 requests")
			}, &origin{serve: begins(text)})
		})
	}
}

func TestACallerThatLeavesIsToldOfAndNoFault(t *testing.T) {
	for _, when := range []string{"before the header", "in the body"} {
		t.Run(when, func(t *testing.T) {
			o := &origin{}
			if when == "in the body" {
				o.serve = begins("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			}
			inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				if _, err := s.try(ctx, "1h"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				for _, p := range o.peers {
					_ = p.Close()
				}
				synctest.Wait()
				s.saw("closed", "client_abort: the caller left")
				if e := s.endpoint(0); e.Failures != 0 {
					t.Errorf("%d failures", e.Failures)
				}
			}, o)
		})
	}
}

func TestAResponseThatBreaksOffIsAnErrorForItsReader(t *testing.T) {
	o := &origin{serve: begins("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")}
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		res, err := s.send(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		synctest.Wait()
		_ = o.peer(0).Close()
		if body, err := io.ReadAll(res.Body); string(body) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q, %v", body, err)
		}
		synctest.Wait()
		s.saw("closed", "error: it broke under a request; 1 requests")
	}, o)
}

func TestAnUpgradedConnectionLeavesThePool(t *testing.T) {
	o := &origin{serve: func(p *peer) {
		if _, ok := p.next(); ok {
			p.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(p, p.in)
		}
	}}
	cfg := upstream.Config{Connections: upstream.Connections{MaxAge: time.Minute}}
	inBubble(t, cfg, func(t *testing.T, s *sim) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://pool/", nil)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
		res, err := s.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		other, ok := res.Body.(io.ReadWriter)
		if !ok || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%d %T", res.StatusCode, res.Body)
		}
		sleep(time.Hour) // no age, and no time of being idle ends it
		all := s.Connections(10)
		if len(all) != 1 || all[0].State != "upgraded" || all[0].InFlight != 1 {
			t.Errorf("connections: %+v", all)
		}
		text := make([]byte, 5)
		go func() { _, _ = io.WriteString(other, "hello") }()
		if _, err := io.ReadFull(other, text); string(text) != "hello" {
			t.Errorf("%q, %v", text, err)
		}
		_ = res.Body.Close()
		synctest.Wait()
		told := s.told("closed")
		if len(told) != 1 || !strings.HasPrefix(told[0], "upgrade: the other protocol's connection is over; 1 requests") || len(s.Connections(10)) > 0 {
			t.Errorf("closed: %q", told)
		}
	}, o)
}
