package listen_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/fairlead-edge/fairlead/listen"
)

const tenBytes = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"

// lasting is a server of which no connection ends of age.
var lasting = listen.Config{Timeouts: listen.Timeouts{MaxAge: -1}}

// reading is a handler that tells how the body ended.
func reading(t *testing.T, ended *error, after *time.Duration) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		_, *ended = io.Copy(io.Discard, r.Body)
		*after = time.Since(began)
		w.WriteHeader(http.StatusNoContent)
	}
}

func TestABodyThatStallsEndsWithAClearError(t *testing.T) {
	simulated(t, func(t *testing.T) {
		var err error
		var after time.Duration
		n := serve(t, lasting, reading(t, &err, &after))
		want := "listen: request body: nothing came for 30s: "

		one := dial1(t, n)
		one.send(tenBytes + "one")
		resp, _ := one.answer("POST")
		if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(err.Error(), want) || after != 30*time.Second {
			t.Errorf("HTTP/1.1: %v after %v", err, after)
		}
		if end := one.ended(); !resp.Close || end != io.EOF {
			t.Errorf("its connection goes on: %v, %v", resp.Header, end)
		}

		header := dial1(t, n) // that means nothing without Connection: upgrade
		header.send(strings.Replace(tenBytes, "Host: a", "Host: a\r\nUpgrade: x", 1) + "one")
		header.answer("POST")
		if !errors.Is(err, os.ErrDeadlineExceeded) || after != 30*time.Second {
			t.Errorf("with Upgrade: %v after %v", err, after)
		}

		two := dial2(t, n)
		id := two.ask("POST", "/", true, "content-length", "10")
		two.must(two.WriteData(id, false, []byte("one")))
		if _, ok := two.frame().(*http2.MetaHeadersFrame); !ok {
			t.Error("no answer")
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(err.Error(), want) || after != 30*time.Second {
			t.Errorf("HTTP/2: %v after %v", err, after)
		}
	})
}

func TestABodyMayTakeLongIfEachPartComesInTime(t *testing.T) {
	simulated(t, func(t *testing.T) {
		var err error
		var after time.Duration
		n := serve(t, lasting, reading(t, &err, &after))
		one := dial1(t, n)
		one.send(tenBytes)
		for range 10 {
			time.Sleep(29 * time.Second)
			one.send(".")
		}
		if resp, _ := one.answer("POST"); err != nil || after != 290*time.Second || resp.Close {
			t.Errorf("%v after %v: %v", err, after, resp.Header)
		}
		one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n") // the connection can be used again
		one.answer("GET")
	})
}

func TestAHandlerMayTakeItsTimeWithTheBodyReadOrNot(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, lasting, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/read" {
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					t.Error(err)
				}
			}
			select {
			case <-time.After(time.Hour):
			case <-r.Context().Done():
				t.Errorf("%s: %v", r.URL, r.Context().Err())
			}
			_, _ = io.WriteString(w, "done")
		})
		one := dial1(t, n)
		one.send(strings.Replace(tenBytes, "/", "/read", 1) + "0123456789")
		if _, body := one.answer("POST"); body != "done" {
			t.Errorf("%q", body)
		}
		one.send(tenBytes)
		began := time.Now()
		resp, body := one.answer("POST") // net/http waits for the body, but not for ever
		if took := time.Since(began); body != "done" || took != time.Hour+30*time.Second || !resp.Close {
			t.Errorf("%q after %v, %v", body, took, resp.Header)
		}
		if err := one.ended(); err != io.EOF {
			t.Error(err)
		}
	})
}

func TestALargeAnswerToABodyThatNobodyReadsIsNotCut(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, lasting, func(w http.ResponseWriter, r *http.Request) {
			for range 10 {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					t.Error(err)
				}
			}
			if err := r.Context().Err(); err != nil {
				t.Error(err)
			}
		})
		one := dial1(t, n)
		one.send(tenBytes + "0123456789")
		time.Sleep(time.Hour) // in which nothing is read of the answer
		if resp, body := one.answer("POST"); len(body) != 10_000 || resp.Close {
			t.Errorf("%d bytes, %v", len(body), resp.Header)
		}
		one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		one.answer("GET")
	})
}

func TestABodyIsNotTimedOnceItsResponseBegan(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, lasting, func(w http.ResponseWriter, r *http.Request) {
			ctl := http.NewResponseController(w)
			if err := ctl.EnableFullDuplex(); err != nil {
				t.Error(err)
			}
			if err := ctl.Flush(); err != nil {
				t.Error(err)
			}
			body, err := io.ReadAll(r.Body)
			if string(body) != "0123456789" || err != nil {
				t.Errorf("%s: %q, %v", r.Proto, body, err)
			}
		})
		one := dial1(t, n)
		one.send(tenBytes)
		resp, err := http.ReadResponse(one.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		one.send("0123456789")
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Error(err)
		}

		two := dial2(t, n)
		id := two.ask("POST", "/", true, "content-length", "10")
		if _, ok := two.frame().(*http2.MetaHeadersFrame); !ok {
			t.Error("no answer")
		}
		two.rest(time.Hour + time.Second)
		two.must(two.WriteData(id, true, []byte("0123456789")))
		if f, ok := two.frame().(*http2.DataFrame); !ok || !f.StreamEnded() {
			t.Errorf("%v", f)
		}
	})
}

func TestABodyOfUnknownLengthOverHTTP2MayBeAnExchange(t *testing.T) {
	simulated(t, func(t *testing.T) {
		var err error
		var after time.Duration
		n := serve(t, lasting, reading(t, &err, &after))
		two := dial2(t, n)
		id := two.ask("POST", "/", true)
		two.rest(time.Hour + time.Second)
		two.must(two.WriteData(id, true, nil))
		if _, ok := two.frame().(*http2.MetaHeadersFrame); !ok || err != nil || after != time.Hour+time.Second {
			t.Errorf("%v after %v", err, after)
		}
	})
}

func TestWhatAClientWaitsToBeAskedForIsNotWaitedFor(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, lasting, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
		one := dial1(t, n)
		one.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
		began := time.Now()
		if resp, _ := one.answer("POST"); resp.StatusCode != http.StatusForbidden || !resp.Close || time.Since(began) != 0 {
			t.Errorf("%s after %v: %v", resp.Status, time.Since(began), resp.Header)
		}
	})
}

func TestAConnectionThatWasTakenOverIsLeftAlone(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, lasting, func(w http.ResponseWriter, _ *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				defer conn.Close()
				text := make([]byte, 10)
				_, err := io.ReadFull(rw, text)
				if err != nil {
					t.Error(err)
				}
				_, _ = conn.Write(text)
			}()
		})
		one := dial1(t, n)
		one.send(tenBytes)
		synctest.Wait()
		time.Sleep(time.Hour)
		one.send("0123456789")
		text, err := io.ReadAll(one.r)
		if string(text) != "0123456789" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
	})
}

func TestABodyThatStallsEndsOverHTTP3(t *testing.T) {
	failed := make(chan error, 1)
	h := startH3(t, listen.Config{
		Timeouts: listen.Timeouts{Body: 10 * time.Millisecond},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			failed <- err
			w.WriteHeader(http.StatusRequestTimeout)
		}),
	})
	body, stalled := io.Pipe()
	defer stalled.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 10
	resp, err := h.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) || resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("%v, %s", err, resp.Status)
	}
}

func TestACallOfNoDeclaredLengthMayBeSilentBeforeItsResponse(t *testing.T) {
	const header = "POST / HTTP/1.1\r\nHost: a\r\n"
	const chunked = "Transfer-Encoding: chunked\r\n"
	calls := map[string]bool{ // by its fields: whether it may
		chunked + "Content-Type: application/connect+proto":              true,
		chunked + "Content-Type: application/grpc-web-text":              true,
		chunked + "Content-Type: application/proto":                      false, // unary
		chunked + "Content-Type: application/grpc":                       false, // needs HTTP/2
		"Content-Type: application/connect+proto\r\nContent-Length: 100": false,
	}
	simulated(t, func(t *testing.T) {
		for fields, silent := range calls {
			var err error
			var after time.Duration
			n := serve(t, lasting, reading(t, &err, &after))
			one := dial1(t, n)
			one.send(header + fields + "\r\n\r\n1\r\na\r\n")
			if !silent {
				if resp, _ := one.answer("POST"); !errors.Is(err, os.ErrDeadlineExceeded) || after != 30*time.Second || !resp.Close {
					t.Errorf("%s: %v after %v", fields, err, after)
				}
				continue
			}
			time.Sleep(5 * time.Hour)
			one.send("0\r\n\r\n")
			if resp, _ := one.answer("POST"); err != nil || after != 5*time.Hour || resp.Close {
				t.Errorf("%s: %v after %v", fields, err, after)
			}
		}
	})
}

func TestACallThatIsNotReadToItsEndIsDrainedWithinTheBound(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, lasting, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		one := dial1(t, n)
		one.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: application/connect+proto\r\n\r\n")
		began := time.Now()
		if resp, _ := one.answer("POST"); !resp.Close || time.Since(began) != 30*time.Second {
			t.Errorf("%v after %v", resp.Header, time.Since(began))
		}
	})
}
