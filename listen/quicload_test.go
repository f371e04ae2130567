package listen_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fairlead-edge/fairlead/listen"
)

func TestAnUrgentResponseOvertakesTwentyOthersOverHTTP3(t *testing.T) {
	var begun sync.WaitGroup
	begun.Add(20)
	urgent := make(chan struct{})
	h := startH3(t, listen.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := 1 << 20
		if r.URL.Path == "/urgent" {
			size = 64 << 10
			close(urgent)
		} else {
			begun.Done()
		}
		_, _ = w.Write(make([]byte, size))
	})})
	tr := &http3.Transport{TLSClientConfig: h.tls(), Dial: h.dial(t), QUICConfig: &quic.Config{
		// The connection is saturated by the first that is not read.
		InitialConnectionReceiveWindow: 64 << 10, MaxConnectionReceiveWindow: 64 << 10,
	}}
	defer tr.Close()
	read := make(chan struct{})
	var mu sync.Mutex
	var order []string
	var all sync.WaitGroup
	fetch := func(path, priority string) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+path, nil)
		req.Header.Set("Priority", priority)
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		<-read
		if _, err = io.Copy(io.Discard, res.Body); err != nil {
			t.Error(err)
		}
		mu.Lock()
		order = append(order, path)
		mu.Unlock()
	}
	for i := range 20 {
		all.Go(func() { fetch(fmt.Sprint("/", i), "u=5") })
	}
	begun.Wait()
	all.Go(func() { fetch("/urgent", "u=0") })
	<-urgent
	close(read)
	all.Wait()
	if len(order) != 21 || order[0] != "/urgent" {
		t.Errorf("order %v", order)
	}
}

func TestFloodsOverHTTP3AreBounded(t *testing.T) {
	release := make(chan struct{})
	h := startH3(t, listen.Config{Limits: listen.Limits{Streams: 10}, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/unread" {
			<-release
		}
	})})
	conf := h.tls()
	conf.NextProtos = []string{http3.NextProtoH3}
	conn, err := h.dial(t)(t.Context(), "", conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseWithError(0, "") }()

	// Streams of a reserved type (RFC 9114, section 6.2.3): each is refused, and
	// there are never more than eight.
	for range 2000 {
		s, err := conn.OpenUniStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.Write([]byte{0x21, 1, 2, 3}) // fails when it was refused already
		_ = s.Close()
	}
	open := 0
	for ; ; open++ {
		if _, err = conn.OpenUniStream(); err != nil {
			break
		}
	}
	if limit := (&quic.StreamLimitReachedError{}); !errors.As(err, &limit) || open > 8 {
		t.Errorf("%d streams, %v", open, err)
	}

	// Frames of a reserved type (section 7.2.8) before the header are skipped.
	s, err := conn.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	frames := make([]byte, 0, 300<<10)
	for range 100_000 {
		frames = append(frames, 0x21, 1, 0)
	}
	if _, err = s.Write(frames); err != nil {
		t.Fatal(err)
	}
	s.CancelWrite(0)

	// A body that nobody reads is held up by the windows.
	reader, err := h.dial(t)(t.Context(), "", conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.CloseWithError(0, "") }()
	cc := (&http3.Transport{}).NewClientConn(reader)
	unread := 0
	for range 10 {
		rs, err := cc.OpenRequestStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/unread", nil)
		if err = rs.SendRequestHeader(req); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			if err = rs.TryWriteAll(make([]byte, 1000)); err == nil {
				unread += 1000
			}
		}
		if !errors.Is(err, quic.ErrWouldBlock) {
			t.Fatal(err)
		}
		defer rs.CancelWrite(0)
	}
	if unread > 48<<10 {
		t.Errorf("the server takes %d bytes that nobody reads", unread)
	}
	close(release)
	if _, body := get(t, h.client(t), h.url); body != "" {
		t.Errorf("others get %q", body)
	}
}

func TestAClientThatResetsItsRequestsRapidlyHasNoMoreOfThemAtOneTime(t *testing.T) {
	var running, most atomic.Int64
	h := startH3(t, listen.Config{Limits: listen.Limits{Streams: 5}, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-r.Context().Done()
		running.Add(-1)
	})})
	conf := h.tls()
	conf.NextProtos = []string{http3.NextProtoH3}
	conn, err := h.dial(t)(t.Context(), "", conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	cc := (&http3.Transport{}).NewClientConn(conn)
	for range 200 {
		rs, err := cc.OpenRequestStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url, nil)
		_ = rs.SendRequestHeader(req)
		_ = rs.Close()
		rs.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	}
	if n := most.Load(); n == 0 || n > 5 {
		t.Errorf("%d handlers at one time", n)
	}
}
