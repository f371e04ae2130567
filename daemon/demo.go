package daemon

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/capture"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/topic"
)

// demoTopic is the topic of the built-in demo.
const demoTopic = "demo/prices"

const (
	// demoPace is the time between two words: slow enough to be watched, fast enough
	// that a drop of a second misses some.
	demoPace = 250 * time.Millisecond
	// pricePace is that between two prices, which the demonstration draws.
	pricePace = 100 * time.Millisecond
)

//go:embed demo.html
var demoPage []byte

// demo is an API that can nothing of what this server adds: it sends an answer
// word by word, or the prices from now on, without ids, and cannot resume. It is an
// [http.RoundTripper], so that it stands where any upstream would.
type demo struct {
	topics *topic.Store
	calls  atomic.Int64
	sent   atomic.Int64 // the number of the latest price
}

// newDemo returns it, with its topic, that nobody who comes early gets 404.
func newDemo(topics *topic.Store) (*demo, error) {
	if _, err := topics.Open(demoTopic); err != nil {
		return nil, fmt.Errorf("daemon: demo: %w", err)
	}
	return &demo{topics: topics}, nil
}

// RoundTrip answers /demo/answer and /demo/live.
func (d *demo) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	res := &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header), ContentLength: -1, Request: r,
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		res.Status, res.StatusCode = "405 Method Not Allowed", http.StatusMethodNotAllowed
		res.Header.Set("Allow", "GET, POST")
		res.Body, res.ContentLength = http.NoBody, 0
		return res, nil
	}
	res.Header.Set("Content-Type", "text/event-stream")
	if r.URL.Path == livePath {
		var err error
		if res.Body, err = d.live(r.Context()); err != nil {
			return nil, err
		}
		return res, nil
	}
	call := d.calls.Add(1)
	res.Header.Set("Demo-Call", strconv.FormatInt(call, 10))
	res.Body = &answer{ctx: r.Context(), call: call, words: strings.Fields(demoAnswer), closed: make(chan struct{})}
	return res, nil
}

const demoAnswer = `A fairlead guides a line so that it runs free and does not chafe . You may drop this connection at any word
 and come back with the last id you saw : the rest follows , from the very next word , and nobody computed the answer twice .`

// answer is a response's body: a word whenever demoPace has passed. It has no
// goroutine: time passes while it is read.
type answer struct {
	ctx     context.Context
	call    int64
	words   []string
	n       int
	pending bytes.Reader
	once    sync.Once
	closed  chan struct{}
}

func (a *answer) Read(p []byte) (int, error) {
	if a.pending.Len() == 0 {
		if a.n > len(a.words) {
			return 0, io.EOF
		}
		if err := a.pause(); err != nil {
			return 0, err
		}
		a.pending.Reset(a.next())
	}
	return a.pending.Read(p)
}

func (a *answer) pause() error {
	timer := time.NewTimer(demoPace)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	case <-a.closed:
		return io.ErrClosedPipe
	}
}

// next returns the next event as it goes over the wire.
func (a *answer) next() []byte {
	a.n++
	if a.n > len(a.words) {
		return []byte("data: [DONE]\n\n")
	}
	word, err := json.Marshal(a.words[a.n-1])
	if err != nil {
		panic(err) // a string always marshals
	}
	return fmt.Appendf(nil, "data: {\"word\":%s,\"n\":%d,\"of\":%d,\"call\":%d}\n\n", word, a.n, len(a.words), a.call)
}

func (a *answer) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

// livePath is where the prices are as an API sends them that keeps nothing.
const livePath = "/demo/live"

// live returns the prices from now on.
func (d *demo) live(ctx context.Context) (io.ReadCloser, error) {
	log, err := d.topics.Open(demoTopic)
	if err != nil {
		return nil, err
	}
	l := &livePrices{prices: topic.NewReader(), items: make([]topic.Item, 1)}
	if err := l.prices.Add(log, fairlead.Latest); err != nil {
		l.prices.Close()
		return nil, err
	}
	l.ctx, l.end = context.WithCancel(ctx)
	return l, nil
}

// livePrices is a response's body: the events of a topic without their ids.
type livePrices struct {
	ctx     context.Context
	end     context.CancelFunc
	prices  *topic.Reader
	items   []topic.Item
	pending bytes.Reader
}

func (l *livePrices) Read(p []byte) (int, error) {
	for l.pending.Len() == 0 {
		if _, err := l.prices.Next(l.ctx, l.items); err != nil {
			return 0, err
		}
		switch item := &l.items[0]; item.Kind {
		case topic.KindEvent:
			l.pending.Reset(fmt.Appendf(nil, "data: %s\n\n", item.Record.Event.Data))
		case topic.KindEnd, topic.KindFault:
			return 0, io.EOF
		}
	}
	return l.pending.Read(p)
}

func (l *livePrices) Close() error {
	l.end()
	l.prices.Close()
	return nil
}

// servePage serves the page that says what to try.
func servePage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		proxy.Problem(w, r, fairlead.Errorf(fairlead.MethodNotAllowed, "this is a page: GET it"))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(demoPage)))
	h.Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-cache")
	_, _ = w.Write(demoPage)
}

// publishPrices appends a price to the demo's topic whenever pricePace has
// passed, until ctx ends. The policy is every, so that a missing number shows.
func (d *demo) publishPrices(ctx context.Context) error {
	symbols := []string{"ROPE", "MAST", "HELM"}
	cents := []int{4200, 18_750, 990}
	ticker := time.NewTicker(pricePace)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		i := n % len(symbols)
		cents[i] = max(100, cents[i]+rand.IntN(101)-50)
		price := fmt.Appendf(nil, `{"n":%d,"symbol":%q,"price":%.2f}`, n, symbols[i], float64(cents[i])/100)
		_, err := d.topics.Append(ctx, demoTopic, topic.Batch{Events: []fairlead.Event{{
			Key: symbols[i], ContentType: "application/json", Data: price,
		}}})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("daemon: demo: %w", err)
		}
		d.sent.Store(int64(n))
	}
}

// demoRoutes are the routes of the demo API: as a file would say them.
func demoRoutes(api *demo, heartbeat Duration) []routeSource {
	answer := Route{Path: Pattern{[]string{"demo", "answer"}}, Upstream: "demo"}
	answer.defaults()
	// As an EventSource would get it, for clients that do not say what they are.
	answer.Capture.OnDisconnect = OnDisconnect(capture.Linger(time.Minute))
	live := Route{Path: Pattern{[]string{"demo", "live"}}, Upstream: "demo"}
	live.defaults()
	live.Capture.Record = Record(capture.Off) // it is there to show what is lost without
	return []routeSource{{cfg: answer, endpoints: api, heartbeat: heartbeat}, {cfg: live, endpoints: api, heartbeat: heartbeat}}
}
