package capture_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/fairlead-edge/fairlead/capture"
)

func TestAnIDFromTheForgottenPartIsToldAsAGap(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{OnDisconnect: capture.Continue}, capture.StoreConfig{StreamBytes: 8 << 10})
	resp := f.get()
	c := <-f.up.came
	go func() {
		io.WriteString(c, "id: early\ndata: first\n\n")
		for i := range 30 {
			fmt.Fprintf(c, "data: %d %s\n\n", i, strings.Repeat("x", 1000))
		}
		io.WriteString(c, "id: late\ndata: last but one\n\ndata: last\n\n")
		c.Close()
	}()
	if _, err := readAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	url := resp.Header.Get("Content-Location")
	data, _ := events(f.own("GET", url, "Last-Event-ID", "early").Body.String())
	if len(data) < 4 || data[0] != "fairlead.gap" {
		t.Errorf("after the forgotten id: %.50q", data)
	}
	wantEvents(t, f.own("GET", url, "Last-Event-ID", "late").Body.String(), "last", "fairlead.end")
}

func TestWhoWaitsForAResponseThatIsNotRecordedCallsTheUpstream(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{}, capture.StoreConfig{})
	f.up.status, f.up.hold = 500, make(chan struct{})
	type result struct {
		status int
		err    error
	}
	results := make(chan result)
	ask := func() {
		resp, err := f.rt.RoundTrip(request(t.Context(), "POST", target, "{}", "Idempotency-Key", "k"))
		if err != nil {
			results <- result{0, err}
			return
		}
		_, err = readAll(resp.Body)
		resp.Body.Close()
		results <- result{resp.StatusCode, err}
	}
	go ask()
	first := <-f.up.came
	go ask()
	close(f.up.hold)
	first.Close()
	(<-f.up.came).Close()
	for range 2 {
		if r := <-results; r.status != 500 || r.err != nil {
			t.Errorf("%+v", r)
		}
	}
}

func TestARequestBodyThatBreaksOffIsAnError(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{}, capture.StoreConfig{})
	r := request(t.Context(), "POST", target, "", "Idempotency-Key", "k")
	r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("{"), iotest.ErrReader(errBroken))), -1
	if resp, err := f.rt.RoundTrip(r); !errors.Is(err, errBroken) || f.up.count() != 0 {
		t.Errorf("%v, %v, %d calls", resp, err, f.up.count())
	}
	again := f.do(request(t.Context(), "POST", target, "{}", "Idempotency-Key", "k")) // the key is free
	(<-f.up.came).Close()
	if _, err := readAll(again.Body); err != nil || again.StatusCode != 200 {
		t.Errorf("%d, %v", again.StatusCode, err)
	}
}

func TestALiveRangeOfForgottenBytesIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{Record: capture.All}, capture.StoreConfig{StreamBytes: 4 << 10})
	f.up.header = http.Header{"Content-Type": {"application/octet-stream"}}
	resp := f.do(request(t.Context(), "GET", target, ""))
	c := <-f.up.came
	go func() {
		for range 10 {
			c.Write(make([]byte, 1000))
		}
	}()
	if _, err := io.ReadFull(resp.Body, make([]byte, 10_000)); err != nil {
		t.Fatal(err)
	}
	url := resp.Header.Get("Content-Location")
	for rng, want := range map[string]int{"bytes=0-5": 410, "bytes=9000-9005": 206, "bytes=9000-9007199254740991": 206, "bytes=x": 410, "bytes=5-2": 410} {
		if w := f.own("HEAD", url, "Range", rng); w.Code != want || w.Code == 206 && w.Header().Get("Content-Range") == "" {
			t.Errorf("%s: status %d", rng, w.Code)
		}
	}
	c.Close()
	if _, err := readAll(resp.Body); err != nil {
		t.Error(err)
	}
}

// TestAClientThatLeavesAsTheResponseComesLeavesNothing hits the moment at which
// both happen, which the store must survive in either order.
func TestAClientThatLeavesAsTheResponseComesLeavesNothing(t *testing.T) {
	t.Parallel()
	for i := range 300 {
		f := newFixture(t, capture.Config{}, capture.StoreConfig{})
		f.up.status, f.up.hold = []int{200, 500}[i%2], make(chan struct{})
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			f.up.came <- <-f.up.came
			go leave()
			close(f.up.hold)
		}()
		resp, err := f.rt.RoundTrip(request(ctx, "POST", target, "{}"))
		if err == nil {
			if _, err := readAll(resp.Body); err == nil {
				t.Error("a clean end of what never ended")
			}
			resp.Body.Close()
		}
		<-(<-f.up.came).req.Context().Done()
		if err := f.store.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if s := f.store.Stats(); s.Live != 0 || s.Calls != 0 {
			t.Errorf("%+v", s)
		}
	}
}
