package capture_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/capture"
)

func TestInTotalFinishedStreamsGoFirstThenTheOldestPartOfLiveOnes(t *testing.T) {
	t.Parallel()
	const total = 100 << 10
	f := newFixture(t, capture.Config{OnDisconnect: capture.Continue}, capture.StoreConfig{TotalBytes: total})
	open := func() (*call, *http.Response) {
		resp := f.get()
		return <-f.up.came, resp
	}
	write := func(c *call, resp *http.Response, events int) {
		for range events {
			go io.WriteString(c, "data: "+strings.Repeat("x", 1000)+"\n\n")
			next(t, resp.Body, 1)
		}
	}
	status := func(resp *http.Response) int {
		return f.own("HEAD", resp.Header.Get("Content-Location")).Code
	}
	c1, ended1 := open()
	write(c1, ended1, 20)
	c2, ended2 := open()
	write(c2, ended2, 20)
	c3, live := open()
	write(c3, live, 20)
	c2.Close()
	readAll(ended2.Body)
	c1.Close()
	readAll(ended1.Body)
	write(c3, live, 25)
	if a, b, c := status(ended1), status(ended2), status(live); a != 200 || b != 410 || c != 200 {
		t.Errorf("the first to end is to go first: %d %d %d", a, b, c)
	}
	write(c3, live, 20)
	if a, b := status(ended1), status(live); a != 410 || b != 200 {
		t.Errorf("then the other: %d %d", a, b)
	}
	write(c3, live, 50)
	_, small := open()
	c3.Close()
	if body, err := readAll(live.Body); err != nil || body != "" {
		t.Errorf("the reader that keeps up: %q, %v", body, err)
	}
	data, _ := events(f.own("GET", live.Header.Get("Content-Location")).Body.String())
	if len(data) < 20 || len(data) > 100 || data[0] != "fairlead.gap" || data[len(data)-1] != "fairlead.end" {
		t.Errorf("the live one has %d events left, first %.20q", len(data), data[0])
	}
	if s := f.store.Stats(); s.Bytes > total || s.Evicted != 2 || s.Live != 1 {
		t.Errorf("store: %+v", s)
	}
	small.Body.Close()
}

func TestAReconnectIntoTheForgottenPartOfALiveStreamGoesUpstream(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{OnDisconnect: capture.Continue}, capture.StoreConfig{StreamBytes: 8 << 10})
	resp := f.get("Idempotency-Key", "k")
	c := <-f.up.came
	id := ""
	for i := range 20 {
		go io.WriteString(c, "data: "+strings.Repeat("x", 1000)+"\n\n")
		event := next(t, resp.Body, 1)
		if i == 0 {
			_, id = events(event)
		}
	}
	f.get("Last-Event-ID", id)
	if got, ok := (<-f.up.came).req.Header["Last-Event-Id"]; ok {
		t.Errorf("the upstream got %q", got)
	}
	f.get("Idempotency-Key", "k") // the whole cannot be replayed
	<-f.up.came
	data, _ := events(f.own("HEAD", resp.Header.Get("Content-Location")).Body.String())
	if len(data) != 0 || f.up.count() != 3 {
		t.Errorf("%q, %d calls", data, f.up.count())
	}
}

func TestDrainWaitsForTheUpstreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, capture.Config{}, capture.StoreConfig{})
		if err := f.store.Drain(t.Context()); err != nil {
			t.Errorf("nothing to drain: %v", err)
		}
		resp := f.get()
		c := <-f.up.came
		go func() {
			time.Sleep(5 * time.Second)
			io.WriteString(c, "data: a\n\n")
			c.Close()
		}()
		began := time.Now()
		if err := f.store.Drain(t.Context()); err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		body, err := readAll(resp.Body)
		wantEvents(t, body, "a")
		if err != nil {
			t.Error(err)
		}
	})
}

func TestNobodyLingersForAServerThatIsClosed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		policy capture.OnDisconnect
		waits  time.Duration
	}{
		{"a call that lingers is cancelled", capture.Linger(time.Hour), 0},
		{"one that continues goes on", capture.Continue, 5 * time.Second},
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, left before: %v", c.name, first), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFixture(t, capture.Config{OnDisconnect: c.policy}, capture.StoreConfig{})
					resp := f.get()
					up := <-f.up.came
					time.AfterFunc(5*time.Second, func() { up.Close() })
					if first {
						resp.Body.Close()
					}
					f.store.StopLingering()
					resp.Body.Close()
					began := time.Now()
					if err := f.store.Drain(t.Context()); err != nil || time.Since(began) != c.waits {
						t.Errorf("%v after %v, want %v", err, time.Since(began), c.waits)
					}
					time.Sleep(5 * time.Second)
				})
			})
		}
	}
}

func TestAClosedStoreLetsRequestsPass(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{}, capture.StoreConfig{})
	live := f.get()
	c := <-f.up.came
	io.WriteString(c, "data: a\n\n")
	next(t, live.Body, 1)
	f.store.Close()
	if _, err := readAll(live.Body); err == nil {
		t.Error("the live stream ends cleanly")
	}
	wantEvents(t, f.own("GET", live.Header.Get("Content-Location")).Body.String(), "a", "fairlead.fault")
	resp := f.get("Idempotency-Key", "k")
	c = <-f.up.came
	go func() {
		io.WriteString(c, "data: b\n\n")
		c.Close()
	}()
	if body, err := readAll(resp.Body); body != "data: b\n\n" || err != nil || resp.Header.Get("Content-Location") != "" {
		t.Errorf("%q, %v, %v", body, err, resp.Header)
	}
	if err := f.store.Drain(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestTheNumberOfStreamsIsBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{}, capture.StoreConfig{Streams: 3})
	var all []*http.Response
	for i := range 4 {
		resp := f.get()
		<-f.up.came
		if got := resp.Header.Get("Content-Location") != ""; got != (i < 3) {
			t.Errorf("stream %d captured: %v", i, got)
		}
		all = append(all, resp)
	}
	for _, c := range f.up.calls {
		c.Close()
	}
	for _, resp := range all {
		readAll(resp.Body)
	}
	if err := f.store.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	resp := f.get()
	f.up.calls[4].Close()
	readAll(resp.Body)
	if s := f.store.Stats(); s.Evicted != 1 || s.Finished != 3 {
		t.Errorf("%+v", s)
	}
}

func TestStreamsAreDescribedWithoutTheirIDs(t *testing.T) {
	t.Parallel()
	x := inState(t, "faulted", capture.Config{}, owned...)
	infos := x.store.Streams(10)
	if len(infos) != 1 || infos[0].State != "fault" || infos[0].Fault != "fault" || infos[0].Events != 2 || infos[0].Bytes == 0 {
		t.Fatalf("%+v", infos)
	}
	id := strings.TrimPrefix(x.url, capture.Prefix+"/")
	if text := fmt.Sprintf("%+v %+v", infos, x.store.Stats()); strings.Contains(text, id) || strings.Contains(id, infos[0].Hash) {
		t.Errorf("%s has the id %s", text, id)
	}
	if len(x.store.Streams(0)) != 0 {
		t.Error("the limit is not kept")
	}
}

func TestTheConfigurationsWords(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]capture.OnDisconnect{
		"cancel": capture.Cancel, "continue": capture.Continue, "linger 60s": capture.Linger(time.Minute), "linger  1h": capture.Linger(time.Hour),
	} {
		if got, err := capture.ParseOnDisconnect(s); got != want || err != nil {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, bad := range []string{"", "linger", "linger 0s", "linger -1s", "linger 60", "Cancel", "cancel now"} {
		if got, err := capture.ParseOnDisconnect(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
	for s, want := range map[string]capture.Record{"off": capture.Off, "events": capture.Events, "all": capture.All} {
		if got, err := capture.ParseRecord(s); got != want || err != nil {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	if _, err := capture.ParseRecord("some"); err == nil {
		t.Error("some is a word")
	}
	for _, bad := range []string{"", "header", "header X-User:", "header é", "cookie a=b", "body x", "header A B"} {
		if got, err := capture.ParseIdentity(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
	if capture.Linger(-1) != capture.Cancel {
		t.Error("a negative linger is not cancel")
	}
}
