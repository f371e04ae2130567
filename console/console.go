// Package console is a page that shows a server at work: plain ES modules and one
// stylesheet, embedded, fed by an event stream of its own.
//
// [Console.Page] serves what is the same for everybody and says nothing of the server,
// so that it may be open; [Console.Feed] is the stream of what there is, and belongs
// behind whatever guards the rest. The page sends a token with it that it has asked its
// user for.
//
// The page demonstration.html shows what readers lose when their network is cut. It
// asks for the paths below /demo/ that the program adds beside its built-in demo, and
// says so where there are none; the console links to it when the snapshot has
// "demo": true.
//
// There is no goroutine of its own: a snapshot is made when a viewer's turn has come
// and the last one is older than [Config.Interval], and all viewers share it. One that
// took long is shown for ten times as long, so that looking takes at most a tenth of a
// processor. While nobody looks, nothing is computed.
package console

import (
	"embed"
	"io/fs"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead/sse"
)

//go:embed static
var static embed.FS

// Config describes a Console.
type Config struct {
	// Snapshot returns what the page shows, as one JSON object without line breaks. It
	// is called by one goroutine at a time, at most once each half Interval. Required.
	Snapshot func() []byte
	// Interval is the time between two snapshots of a viewer. Default 1 s.
	Interval time.Duration
	// Leaving ends the streams of all viewers when it is closed. nil: never.
	Leaving <-chan struct{}
}

// Console serves the page. It is safe for concurrent use.
type Console struct {
	cfg   Config
	files http.Handler

	last atomic.Pointer[shown]
	turn chan struct{} // who makes one holds it
}

// New returns a Console.
func New(cfg Config) *Console {
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // it is embedded
	}
	return &Console{cfg: cfg, files: http.FileServerFS(files), turn: make(chan struct{}, 1)}
}

// policy lets the page load what is its own, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Page serves the page at "/" and its files beside it; strip what is before that.
func (c *Console) Page(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	c.files.ServeHTTP(w, r)
}

// Feed serves snapshots as an event stream, until its client leaves. One that reads
// slowly gets fewer of them; one that does not read at all is given up after 30 s.
func (c *Console) Feed(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // whose client waits for the end, not for events
		sse.SetHeader(w.Header())
		return
	}
	stream, err := sse.NewWriter(w)
	if err != nil {
		return // the client has gone
	}
	defer stream.Close()
	tick := time.NewTicker(c.cfg.Interval)
	defer tick.Stop()
	for {
		if stream.Send(sse.Event{Data: c.snapshot()}) != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-c.cfg.Leaving:
			return
		}
	}
}

// shown is a snapshot.
type shown struct {
	at   time.Time
	good time.Duration // for how long
	text []byte
}

// snapshot returns one that is not older than half an Interval, or ten times what it
// took.
func (c *Console) snapshot() []byte {
	if s := c.fresh(); s != nil {
		return s
	}
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if s := c.fresh(); s != nil { // somebody else's
		return s
	}
	began := time.Now()
	text := c.cfg.Snapshot()
	at := time.Now()
	c.last.Store(&shown{at, max(c.cfg.Interval/2, 10*at.Sub(began)), text})
	return text
}

func (c *Console) fresh() []byte {
	if s := c.last.Load(); s != nil && time.Since(s.at) <= s.good {
		return s.text
	}
	return nil
}
