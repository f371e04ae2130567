package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/proxy"
)

const (
	// maxDemonstrations bounds those that run at once: the oldest gives way.
	maxDemonstrations = 8
	// maxCarried bounds the connections of one reader, which needs one, and another
	// while it comes back. Transports forget those that were upgraded.
	maxCarried = 8
	// maxCut is the longest time for which a cable may be cut.
	maxCut = 10 * time.Second
	// demonstrationKept is how long one is kept whose page does not ask for its state:
	// browsers have a page that nobody sees ask once a minute.
	demonstrationKept = 2 * time.Minute
	// cableIdle is how long a cable's connection waits for a further request.
	cableIdle = time.Minute
)

// cables are the names of a demonstration's readers.
var cables = [...]string{"sse", "websocket", "poll", "connect", "plain"}

// carries reports whether a cable carries a request: those of its reader of the page,
// and no others, for they come to the public listener as from this machine.
func carries(cable string, r *http.Request) bool {
	path := "/" + r.PathValue("path")
	switch cable {
	case "connect":
		return r.Method == http.MethodPost && path == fairleadv1connect.TopicsSubscribeProcedure && subscribesToPrices(r)
	case "plain":
		return isRead(r.Method) && path == livePath
	}
	return isRead(r.Method) && path == "/topics/"+demoTopic
}

func isRead(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// maxSubscribe bounds what the page's reader over Connect sends, in bytes.
const maxSubscribe = 1 << 10

// subscribesToPrices puts in the place of what a call asks for the same of the demo's
// topic, from the cursor that it names; it reports whether there is one.
func subscribesToPrices(r *http.Request) bool {
	const prefix = 5 // of an enveloped message: flags, and four bytes of its length
	sent, err := io.ReadAll(io.LimitReader(r.Body, maxSubscribe))
	var asked struct {
		After string `json:"after"`
	}
	if err != nil || len(sent) < prefix || sent[0] != 0 || json.Unmarshal(sent[prefix:], &asked) != nil {
		return false
	}
	text, err := json.Marshal(map[string]string{"topic": demoTopic, "after": asked.After})
	if err != nil {
		return false
	}
	text = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...) //nolint:gosec // it is short
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	r.Header.Set("Content-Type", "application/connect+json")
	return true
}

// demonstrations let the console's page of that name lose its network. Each of its
// readers comes to the public listener by a cable of its own, over real sockets, which
// can be cut and slowed. They are there beside the built-in demo only, and who knows the
// random key of one may use it, since neither an EventSource nor a WebSocket could
// send the admin_token. The zero value has none.
type demonstrations struct {
	mu    sync.Mutex
	ended bool
	all   []*demonstration // the oldest first; at most maxDemonstrations
}

type demonstration struct {
	key    string
	cables map[string]*cable
	kept   *time.Timer // until then
}

// handleDemonstrations adds their paths to those of the admin listener: guarded for who may start
// one, open for who has its key.
func (d *daemon) handleDemonstrations(guarded, open *http.ServeMux, api *demo) {
	guarded.HandleFunc("POST /demo/start", func(w http.ResponseWriter, r *http.Request) {
		one, err := d.shows.start(d.publicAddress())
		if err != nil {
			proxy.Problem(w, r, err)
			return
		}
		writeJSON(w, map[string]string{"key": one.key})
	})
	open.HandleFunc("GET /demo/{key}/state", d.shows.find(func(w http.ResponseWriter, _ *http.Request, one *demonstration) {
		one.kept.Reset(demonstrationKept)
		writeJSON(w, map[string]int64{"sent": api.sent.Load()})
	}))
	open.HandleFunc("POST /demo/{key}/cut", d.shows.find(serveCut))
	open.HandleFunc("POST /demo/{key}/slow", d.shows.find(serveSlow))
	open.HandleFunc("/demo/{key}/{cable}/{path...}", d.shows.find(func(w http.ResponseWriter, r *http.Request, one *demonstration) {
		c := one.cables[r.PathValue("cable")]
		switch {
		case c == nil:
			noCable(w, r)
		case !carries(r.PathValue("cable"), r):
			proxy.Problem(w, r, fairlead.Errorf(fairlead.NotFound, "a demonstration carries what its readers ask for, and nothing else"))
		default:
			c.ServeHTTP(w, r)
		}
	}))
}

// publicAddress returns that of the listener without TLS; nil: there is none.
func (d *daemon) publicAddress() net.Addr {
	for _, s := range d.servers {
		if s.name == plainListener {
			return s.tcp.Addr()
		}
	}
	return nil
}

func (s *demonstrations) start(to net.Addr) (*demonstration, error) {
	if to == nil {
		return nil, fairlead.Errorf(fairlead.NotFound, "the demonstration needs a listener without TLS: --http says where")
	}
	one := &demonstration{key: strings.ToLower(rand.Text()), cables: make(map[string]*cable)}
	for _, name := range cables {
		one.cables[name] = newCable(to)
	}
	var oldest *demonstration
	s.mu.Lock()
	ended := s.ended
	if !ended {
		one.kept = time.AfterFunc(demonstrationKept, func() { s.forget(one) })
		if len(s.all) == maxDemonstrations {
			oldest, s.all = s.all[0], s.all[1:]
		}
		s.all = append(s.all, one)
	}
	s.mu.Unlock()
	if ended {
		return nil, fairlead.Errorf(fairlead.Draining, "this server is going away")
	}
	if oldest != nil {
		oldest.end()
	}
	return one, nil
}

// forget ends one whose page is gone.
func (s *demonstrations) forget(one *demonstration) {
	s.mu.Lock()
	s.all = slices.DeleteFunc(s.all, func(other *demonstration) bool { return other == one })
	s.mu.Unlock()
	one.end()
}

// find serves with the demonstration whose key the path has.
func (s *demonstrations) find(serve func(http.ResponseWriter, *http.Request, *demonstration)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		var found *demonstration
		for _, one := range s.all {
			if one.key == r.PathValue("key") {
				found = one
			}
		}
		s.mu.Unlock()
		if found == nil {
			proxy.Problem(w, r, fairlead.Errorf(fairlead.NotFound, "this demonstration has ended; load its page again"))
			return
		}
		serve(w, r, found)
	}
}

// end ends them all, and what they have open.
func (s *demonstrations) end() {
	s.mu.Lock()
	all := s.all
	s.all, s.ended = nil, true
	s.mu.Unlock()
	for _, one := range all {
		one.end()
	}
}

// end may be called again.
func (d *demonstration) end() {
	d.kept.Stop()
	for _, c := range d.cables {
		c.cut(time.Unix(1<<40, 0)) // for ever
		c.transport.CloseIdleConnections()
	}
}

// some returns the cables that a request is for: all, or that of ?reader=.
func (d *demonstration) some(r *http.Request) []*cable {
	name := r.URL.Query().Get("reader")
	var some []*cable
	for of, c := range d.cables {
		if name == "" || name == of {
			some = append(some, c)
		}
	}
	return some
}

func noCable(w http.ResponseWriter, r *http.Request) {
	proxy.Problem(w, r, fairlead.Errorf(fairlead.NotFound, "the readers are %s", strings.Join(cables[:], ", ")))
}

// serveCut cuts the network: POST cut?seconds=2, of one with reader=.
func serveCut(w http.ResponseWriter, r *http.Request, d *demonstration) {
	seconds, err := strconv.ParseFloat(r.URL.Query().Get("seconds"), 64)
	if err != nil || !(seconds > 0 && seconds <= maxCut.Seconds()) {
		proxy.Problem(w, r, fairlead.Errorf(fairlead.InvalidArgument, "seconds is for how long, above 0 and up to %v", maxCut.Seconds()))
		return
	}
	some := d.some(r)
	if len(some) == 0 {
		noCable(w, r)
		return
	}
	back := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for _, c := range some {
		c.cut(back)
	}
	w.WriteHeader(http.StatusNoContent)
}

// serveSlow slows readers, or lets them go: POST slow?on=true, one with reader=.
func serveSlow(w http.ResponseWriter, r *http.Request, d *demonstration) {
	on, err := strconv.ParseBool(r.URL.Query().Get("on"))
	if err != nil {
		proxy.Problem(w, r, fairlead.Errorf(fairlead.InvalidArgument, "on is true or false"))
		return
	}
	some := d.some(r)
	if len(some) == 0 {
		noCable(w, r)
		return
	}
	for _, c := range some {
		c.slow.Store(on)
	}
	w.WriteHeader(http.StatusNoContent)
}

// cable carries the requests of one reader to the public listener.
type cable struct {
	*httputil.ReverseProxy

	transport *http.Transport
	slow      atomic.Bool

	mu   sync.Mutex
	back time.Time           // until then it is cut
	open map[*cableConn]bool // at most maxCarried
}

func newCable(to net.Addr) *cable {
	c := &cable{open: make(map[*cableConn]bool)}
	c.transport = &http.Transport{
		IdleConnTimeout:    cableIdle,
		DisableCompression: true, // what the reader asks for is its own business
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx, to) },
	}
	c.ReverseProxy = &httputil.ReverseProxy{
		Transport: c.transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			path := "/" + r.In.PathValue("path")
			r.Out.URL = &url.URL{Scheme: "http", Host: "localhost", Path: path, RawQuery: r.In.URL.RawQuery}
			r.Out.Host = "localhost"
			for _, name := range []string{"Authorization", "Cookie", "Origin", "Referer"} {
				r.Out.Header.Del(name) // they are of the admin listener's page
			}
			r.Out.Header.Del("Accept-Encoding") // or what is slow would not look it
		},
		ErrorLog: log.New(io.Discard, "", 0), // a cut is no error here
		// No answer, as of a network that is not there.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return c
}

func (c *cable) dial(ctx context.Context, to net.Addr) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, to.Network(), to.String())
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(cableBuffer) // only when it is slow would a larger one show
	}
	carried := &cableConn{Conn: conn, of: c, closed: make(chan struct{})}
	c.mu.Lock()
	why := error(nil)
	switch {
	case time.Now().Before(c.back):
		why = errCut
	case len(c.open) >= maxCarried:
		why = errFull
	default:
		c.open[carried] = true
	}
	c.mu.Unlock()
	if why != nil {
		_ = conn.Close()
		return nil, why
	}
	return carried, nil
}

var (
	errCut  = errors.New("daemon: the demonstration's network is cut")
	errFull = errors.New("daemon: this reader of the demonstration has too many connections")
)

// cut resets what is open, and refuses the rest until then.
func (c *cable) cut(back time.Time) {
	c.mu.Lock()
	c.back = back
	open := make([]*cableConn, 0, len(c.open))
	for one := range c.open {
		open = append(open, one)
	}
	c.mu.Unlock()
	for _, one := range open {
		if tcp, ok := one.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = one.Close()
	}
}

const (
	// cableBuffer is what the kernel keeps for a cable that is not read, in bytes: little,
	// so that being slow is felt at the other end.
	cableBuffer = 4 << 10
	// A slow cable carries slowBytes each slowPause, 384 bytes a second.
	slowBytes = 96
	slowPause = 250 * time.Millisecond
)

// cableConn is a connection that its cable slows.
type cableConn struct {
	net.Conn

	of     *cable
	once   sync.Once
	closed chan struct{}
}

func (c *cableConn) Read(p []byte) (int, error) {
	if !c.of.slow.Load() {
		return c.Conn.Read(p)
	}
	n, err := c.Conn.Read(p[:min(len(p), slowBytes)])
	pause := time.NewTimer(slowPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-c.closed:
	}
	return n, err
}

func (c *cableConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.of.mu.Lock()
		delete(c.of.open, c)
		c.of.mu.Unlock()
	})
	return c.Conn.Close()
}
