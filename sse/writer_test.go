package sse_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/sse"
)

func TestAStreamSaysThatItIsOne(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	rec.Header().Set("Content-Length", "3")
	if _, err := sse.NewWriter(rec); err != nil {
		t.Fatal(err)
	}
	if !rec.Flushed || rec.Code != http.StatusOK {
		t.Errorf("flushed %v, status %d: the header must be out before the first event", rec.Flushed, rec.Code)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store, no-transform",
		"X-Accel-Buffering": "no", "Content-Length": "",
	} {
		if got := rec.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestEachEventIsOneWriteAndOneFlush(t *testing.T) {
	t.Parallel()
	rec := &recorder{header: http.Header{}}
	w, err := sse.NewWriter(rec)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []func() error{
		func() error { return w.Position("1", time.Second) },
		func() error { return w.Send(sse.Event{ID: "2", Type: "tick", Data: []byte("a\nb")}) },
		func() error { return w.Comment("hb") },
		func() error { _, err := w.Write([]byte("data: c\n\n")); return err },
		func() error { return w.Position("", 0) },
	} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
	const want = "flush|id: 1\nretry: 1000\n\n|flush|id: 2\nevent: tick\ndata: a\ndata: b\n\n|flush|: hb\n\n|flush|data: c\n\n|flush"
	if got := strings.Join(rec.calls, "|"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := w.Send(sse.Event{ID: "a\nb"}); err == nil || strings.Join(rec.calls, "|") != want {
		t.Errorf("a wrong id: %v, calls %q", err, rec.calls)
	}
}

func TestAWriterThatCannotFlushIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	rec.Header().Set("Content-Type", "text/plain")
	_, err := sse.NewWriter(hidden{rec})
	if !errors.Is(err, http.ErrNotSupported) || !strings.Contains(err.Error(), "Unwrap") {
		t.Errorf("error %v, want what to do", err)
	}
	if len(rec.Header()) != 1 || rec.Header().Get("Content-Type") != "text/plain" {
		t.Errorf("header %v was left behind", rec.Header())
	}
	if _, err := sse.NewWriter(wrapped{rec}); err != nil {
		t.Errorf("a wrapper with Unwrap: %v", err)
	}
}

func TestTheServersWriteTimeoutDoesNotCutAStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) { // its WriteTimeout is 1 s
			sw, err := sse.NewWriter(w)
			if err != nil {
				t.Error(err)
				return
			}
			defer sw.Close()
			for range 3 {
				wait(r.Context(), time.Minute)
				if err := sw.Send(sse.Event{Data: []byte("a")}); err != nil {
					t.Error(err)
				}
			}
			wait(r.Context(), time.Minute)
		})
		resp, err := srv.Client.Get("http://test/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		events, err := drain(sse.NewDecoder(resp.Body))
		if len(events) != 3 || !errors.Is(err, io.EOF) {
			t.Errorf("events %v, %v; want three and a clean end", events, err)
		}
	})
}

func TestAReaderThatDoesNotReadEndsTheStreamAtTheWritesDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		result := make(chan error, 1)
		var took time.Duration
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			sw, err := sse.NewWriter(w)
			if err != nil {
				result <- err
				return
			}
			sw.WriteTimeout = 7 * time.Second
			begin := time.Now()
			err = sw.Send(sse.Event{Data: []byte("a")})
			took = time.Since(begin)
			result <- err
		})
		ours, err := srv.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		_, _ = io.WriteString(ours, "GET / HTTP/1.1\r\nHost: test\r\n\r\n")
		head := bufio.NewReaderSize(ours, 16)
		for line := ""; line != "\r\n"; {
			line, _ = head.ReadString('\n')
		}
		// Whatever of the body is still to come is never read.
		if err := <-result; err == nil || took != 7*time.Second {
			t.Errorf("error %v after %v, want one after 7s", err, took)
		}
	})
}

func TestAnHTTP10ReaderGetsTheStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if sw, err := sse.NewWriter(w); err == nil {
				_ = sw.Send(sse.Event{Data: []byte("a")})
			}
		})
		ours, err := srv.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(ours, "GET / HTTP/1.0\r\n\r\n")
		answer, err := io.ReadAll(ours)
		if err != nil || !strings.HasSuffix(string(answer), "\r\n\r\ndata: a\n\n") {
			t.Errorf("%q, %v", answer, err)
		}
	})
}

func TestAnHTTP2StreamOutlivesItsWritesDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		srv := serveProtocols(t, func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				t.Errorf("protocol %s", r.Proto)
			}
			sw, err := sse.NewWriter(w)
			if err != nil {
				t.Error(err)
				return
			}
			defer sw.Close()
			for range 2 {
				wait(r.Context(), time.Minute)
				if err := sw.Send(sse.Event{Data: []byte("a")}); err != nil {
					t.Error(err)
				}
			}
			wait(r.Context(), time.Minute)
		}, protocols)
		resp, err := srv.Client.Get("http://test/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if events, err := drain(sse.NewDecoder(resp.Body)); len(events) != 2 || !errors.Is(err, io.EOF) {
			t.Errorf("events %v, %v; want two and a clean end", events, err)
		}
	})
}

// recorder notes each call.
type recorder struct {
	header http.Header
	calls  []string
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}
func (r *recorder) Flush()              { r.calls = append(r.calls, "flush") }
func (r *recorder) Write(p []byte) (int, error) {
	r.calls = append(r.calls, string(p))
	return len(p), nil
}

// hidden is a wrapper that hides Flush; wrapped has Unwrap.
type hidden struct{ http.ResponseWriter }

type wrapped struct{ rw http.ResponseWriter }

func (w wrapped) Header() http.Header         { return w.rw.Header() }
func (w wrapped) WriteHeader(code int)        { w.rw.WriteHeader(code) }
func (w wrapped) Write(p []byte) (int, error) { return w.rw.Write(p) }
func (w wrapped) Unwrap() http.ResponseWriter { return w.rw }
