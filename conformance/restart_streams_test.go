package conformance_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// answers is an API whose answers the test writes, event by event, to all that
// are being read.
type answers struct {
	calls atomic.Int32

	mu   sync.Mutex
	cond *sync.Cond
	sent []string
	over bool
}

func newAnswers() *answers {
	a := &answers{}
	a.cond = sync.NewCond(&a.mu)
	return a
}

func (a *answers) send(events ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent = append(a.sent, events...)
	a.cond.Broadcast()
}

func (a *answers) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.cond.Broadcast()
}

// ServeHTTP sends what there is, and what comes.
func (a *answers) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	a.calls.Add(1)
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	for at := 0; ; at++ {
		a.mu.Lock()
		for len(a.sent) <= at && !a.over {
			a.cond.Wait()
		}
		if len(a.sent) <= at {
			a.mu.Unlock()
			return
		}
		event := a.sent[at]
		a.mu.Unlock()
		fmt.Fprintf(w, "data: %s\n\n", event)
		_ = flush.Flush()
	}
}

// follower reads an event stream.
type follower struct {
	t  *testing.T
	in *bufio.Reader
	id string // of the last event
}

// follow asks with a client of its own, so that each connection is a new one.
func follow(t *testing.T, method, url string, fields ...string) (*follower, *http.Response) {
	t.Helper()
	return followWith(t, h1.client(t, nil), method, url, fields...)
}

func followWith(t *testing.T, c *http.Client, method, url string, fields ...string) (*follower, *http.Response) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return &follower{t: t, in: bufio.NewReader(res.Body)}, res
}

// next returns the type and the data of the next event, or how the stream ended.
func (f *follower) next() (kind, data string, err error) {
	for {
		line, err := f.in.ReadString('\n')
		if err != nil {
			return kind, data, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			f.id = value
		case "event":
			kind = value
		case "data":
			data += value
		case "retry":
			if kind == "" {
				kind = "retry " + value // before an event that says why
			}
		case "":
			if data != "" {
				return kind, data, nil
			}
			kind = ""
		}
	}
}

// want reads events, and an end where the last of them is "".
func (f *follower) want(events ...string) {
	f.t.Helper()
	for _, want := range events {
		_, data, err := f.next()
		if data != want || (want == "") != (err == io.EOF) { //nolint:errorlint // as it comes from bufio
			f.t.Fatalf("event %q, %v, want %q", data, err, want)
		}
	}
}

func proxies(api, window string) string {
	return "drain: {window: " + window + ", deadline: 20s}\nupstreams: {api: {endpoints: [\"" + api + "\"]}}\nroutes: [{path: /**, upstream: api}]\n"
}

func TestACapturedAnswerIsReadToItsEndAcrossRestarts(t *testing.T) {
	t.Parallel()
	api := newAnswers()
	l := found(t, proxies(upstream(t, api), "200ms"))
	url := l.http + "/answer"
	accept := []string{"Accept", "text/event-stream"}
	key := []string{"Idempotency-Key", "key-1", "Authorization", "Bearer owner"}

	api.send("one")
	first, res := follow(t, http.MethodGet, url, accept...)
	own := l.http + res.Header.Get("Content-Location")
	keyed, _ := follow(t, http.MethodPost, url, key...)
	first.want("one")
	keyed.want("one")
	followers := []*follower{first, keyed}
	for n := range 2 { // the second time, what the first process has is asked for at the third
		l.restart()
		event := fmt.Sprint("after restart ", n+1)
		back, _ := follow(t, http.MethodGet, url, append([]string{"Last-Event-ID", first.id}, accept...)...)
		byURL, _ := follow(t, http.MethodGet, own, "Last-Event-ID", first.id)
		repeated, _ := follow(t, http.MethodPost, url, key...)
		api.send(event)
		repeated.want(api.sent[:len(api.sent)-1]...)
		followers = append(followers, back, byURL, repeated)
		for _, f := range followers {
			f.want(event)
		}
		if code, _ := status(t, "-X", "POST", "-H", "Idempotency-Key: key-1", "-H", "Authorization: Bearer owner", "-d", "another", url); code != "422" {
			t.Errorf("the key with another body got %s", code)
		}
	}
	api.send("last")
	api.end()
	for i, f := range followers {
		f.want("last")
		if kind, data, err := f.next(); i == 3 || i == 6 { // by its own URL
			if kind != "fairlead.end" {
				t.Errorf("the stream's own URL ended with %q %q, %v", kind, data, err)
			}
		} else if err != io.EOF { //nolint:errorlint // as it comes from bufio
			t.Errorf("reader %d ended with %q, %v", i, data, err)
		}
	}
	if n := api.calls.Load(); n != 2 {
		t.Errorf("the upstream was called %d times, want once for each of two requests", n)
	}
	l.await("both older processes have gone", func() bool { return strings.Count(l.text(), `"msg":"drained"`) == 2 })
	if log := l.text(); strings.Contains(log, strings.TrimPrefix(own, l.http+"/.well-known/fairlead/streams/")) {
		t.Error("the log names the stream's id")
	}
}

func TestAReaderOfACapturedStreamCancelsItThroughTheNewProcess(t *testing.T) {
	t.Parallel()
	api := newAnswers()
	defer api.end()
	l := found(t, proxies(upstream(t, api), "200ms"))
	api.send("one")
	first, res := follow(t, http.MethodGet, l.http+"/answer", "Accept", "text/event-stream", "Authorization", "owner")
	first.want("one")
	l.restart()
	own := l.http + res.Header.Get("Content-Location")
	for _, c := range []struct{ who, want string }{{"stranger", "404"}, {"owner", "204"}} {
		if code, _ := status(t, "-X", "DELETE", "-H", "Authorization: "+c.who, own); code != c.want {
			t.Errorf("the %s got %s, want %s", c.who, code, c.want)
		}
	}
	if _, _, err := first.next(); err == nil || err == io.EOF { //nolint:errorlint // as it comes from bufio
		t.Errorf("the cancelled stream ended with %v", err)
	}
}

func TestAnAnswerOverEachProtocolEndsInTheOldProcess(t *testing.T) {
	t.Parallel()
	api := newAnswers()
	a := authority()
	l := found(t, a.https(t)+proxies(upstream(t, api), "300ms"))
	api.send("one")
	var open []*follower
	var clients []*http.Client
	bases := []string{l.https, l.https, l.http, l.https}
	for i, p := range protocols {
		c := p.client(t, a.tls())
		f, res := followWith(t, c, http.MethodPost, bases[i]+"/answer")
		if res.Proto != p.proto {
			t.Fatalf("the answer came by %s, want %s", res.Proto, p.proto)
		}
		f.want("one")
		open, clients = append(open, f), append(clients, c)
	}
	l.restart()
	for i, p := range protocols { // on new connections, or on those there are
		f, _ := followWith(t, p.client(t, a.tls()), http.MethodPost, bases[i]+"/answer")
		f.want("one")
		open = append(open, f)
		again, _ := followWith(t, clients[i], http.MethodPost, bases[i]+"/answer")
		again.want("one")
		open = append(open, again)
	}
	api.send("two")
	api.end()
	for _, f := range open {
		f.want("two", "")
	}
}

func TestATLSSessionIsResumedInTheNewProcess(t *testing.T) {
	t.Parallel()
	a := authority()
	l := found(t, a.https(t)+"drain: {window: 100ms}\n")
	conf := a.tls()
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for n := range 3 {
		res := h1.get(t.Context(), t, h1.client(t, conf), l.https+"/")
		whole(t, res.Body)
		if res.TLS.DidResume != (n > 0) {
			t.Errorf("connection %d: resumed is %v", n+1, res.TLS.DidResume)
		}
		if n == 1 {
			l.restart()
		}
	}
}

// topicReader is a reader that comes back as an EventSource does.
type topicReader struct {
	told  time.Duration // of the advice to come back, after the restart began
	back  time.Duration // of its next connection
	first string        // event's type there
}

func TestReadersOfATopicComeBackSpreadOverTheWindowAndSeeAGap(t *testing.T) {
	t.Parallel()
	const window, readers = 2 * time.Second, 60
	l := found(t, fmt.Sprintf("drain: {window: %s, deadline: 20s}\n", window))
	topic := l.http + "/topics/news"
	publish(t, topic, "one")
	var group sync.WaitGroup
	seen := make([]topicReader, readers)
	subscribed := make(chan struct{}, readers)
	var began time.Time
	start := make(chan struct{})
	for i := range readers {
		group.Go(func() {
			f, _ := follow(t, http.MethodGet, topic, "Accept", "text/event-stream", "Last-Event-ID", "earliest")
			_, _, _ = f.next()
			subscribed <- struct{}{}
			<-start
			seen[i] = comeBack(t, f, topic, began)
		})
	}
	for range readers {
		<-subscribed
	}
	began = time.Now()
	close(start)
	l.restart()
	publish(t, topic, "two") // by a new connection: in the new process
	group.Wait()

	// Told at any moment of the window, to stay away a second and up to the
	// window.
	told, back := histogram(), histogram()
	for i, s := range seen {
		if s.first != "fairlead.gap" {
			t.Errorf("reader %d saw %q first, want a gap", i, s.first)
		}
		told.add(s.told, window)
		back.add(s.back, 2*window+time.Second)
	}
	t.Logf("told by tenths of %s: %v; reconnects by tenths of %s: %v", window, told, 2*window+time.Second, back)
	if most := slices.Max(told); most > readers/3 {
		t.Errorf("%d of %d readers were sent away in the same tenth of the window", most, readers)
	}
	if most := slices.Max(back); most > readers/2 {
		t.Errorf("%d of %d readers came back in the same tenth of the time", most, readers)
	}
}

// tenths count what happened in each tenth of a time.
type tenths []int

func histogram() tenths { return make(tenths, 10) }

func (h tenths) add(at, span time.Duration) { h[min(int(at*10/span), 9)]++ }

func publish(t *testing.T, topic, data string) {
	t.Helper()
	p := curl(t, "--fail-with-body", "-d", data, "-H", "Content-Type: text/plain", topic)
	text := strings.Join(p.rest(), "")
	if p.wait(); p.err != nil {
		t.Errorf("publishing failed: %s", text)
	}
}

// comeBack waits for the advice to come back, and follows it.
func comeBack(t *testing.T, f *follower, topic string, began time.Time) (r topicReader) {
	var retry time.Duration
	for {
		line, err := f.in.ReadString('\n')
		if err != nil {
			break
		}
		if text, ok := strings.CutPrefix(line, "retry: "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(text))
			retry, r.told = time.Duration(n)*time.Millisecond, time.Since(began)
		}
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			f.id = strings.TrimSpace(id)
		}
	}
	if retry == 0 {
		t.Error("a reader was sent away without advice")
	}
	<-time.After(retry)
	r.back = time.Since(began)
	again, _ := follow(t, http.MethodGet, topic, "Accept", "text/event-stream", "Last-Event-ID", f.id)
	for r.first == "" || strings.HasPrefix(r.first, "retry ") {
		kind, _, err := again.next()
		if err != nil {
			t.Errorf("after the restart: %v", err)
			return r
		}
		r.first = kind
	}
	return r
}
