package upstream_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/upstream"
)

// switchboard is the network of a bubble. Where nobody is plugged in,
// connections are refused.
type switchboard struct {
	mu    sync.Mutex
	lines map[string]line
	dials map[string]int
	open  int // connections now
	most  int // and at most
}

// line makes connections to one address.
type line func(ctx context.Context) (net.Conn, error)

func newSwitchboard() *switchboard {
	return &switchboard{lines: make(map[string]line), dials: make(map[string]int)}
}

func (b *switchboard) plug(address string, l line) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines[address] = l
}

func (b *switchboard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	b.mu.Lock()
	b.dials[address]++
	l := b.lines[address]
	b.mu.Unlock()
	if l == nil {
		l = deadLine
	}
	c, err := l(ctx)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", address, err)}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open++
	b.most = max(b.most, b.open)
	return &countedConn{Conn: c, closed: func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.open--
	}}, nil
}

// dialed returns how often an address was dialed.
func (b *switchboard) dialed(address string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dials[address]
}

type countedConn struct {
	net.Conn

	once   sync.Once
	closed func()
}

func (c *countedConn) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}

func deadLine(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED }

// muteLine is a black hole.
func muteLine(ctx context.Context) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// cutLine accepts and closes at once.
func cutLine(context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	return ours, theirs.Close()
}

// later delays all that comes from the other end by delay, once.
func later(l line, delay time.Duration) line {
	return func(ctx context.Context) (net.Conn, error) {
		c, err := l(ctx)
		return &lateConn{Conn: c, delay: delay}, err
	}
}

type lateConn struct {
	net.Conn

	once  sync.Once
	delay time.Duration
}

func (c *lateConn) Read(p []byte) (int, error) {
	c.once.Do(func() { time.Sleep(c.delay) })
	return c.Conn.Read(p)
}

// serve plugs in a server of net/http that speaks HTTP/1.1 and h2c and allows
// so many streams; 0: as many as it likes.
func (b *switchboard) serve(t *testing.T, address string, streams int, h http.Handler) *memnet.Server {
	t.Helper()
	s := &http.Server{
		Handler: h, Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0),
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streams},
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	served := memnet.Serve(t, s, nil)
	b.plug(address, func(ctx context.Context) (net.Conn, error) { return served.Dial(ctx, "", "") })
	return served
}

// named answers with its name, the method and the body.
func named(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s", name, r.Method, body)
	}
}

// pool returns a pool on the switchboard, which at the test's end must have
// nothing under way any more.
func (b *switchboard) pool(t *testing.T, cfg upstream.Config) *upstream.Pool {
	t.Helper()
	var open atomic.Int32
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := b.dial(ctx, network, address)
		if err == nil {
			open.Add(1)
			c = &countedConn{Conn: c, closed: func() { open.Add(-1) }}
		}
		return c, err
	}
	p, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		time.Sleep(10 * time.Second) // so that dials into black holes are over
		synctest.Wait()
		for _, e := range p.Snapshot().Endpoints {
			if e.InFlight != 0 || e.Waiting != 0 || e.Dialing != 0 || e.Active != 0 || e.Draining != 0 {
				t.Errorf("after all responses were closed: %+v", e)
			}
		}
		p.Close()
		if n := open.Load(); n != 0 {
			t.Errorf("%d connections are open after Close", n)
		}
	})
	return p
}

// begin sends a request and returns the response's header; its body, "" is
// none, may be sent again if that is allowed. Fields are names and values.
func begin(t *testing.T, p *upstream.Pool, method, body string, fields ...string) (*http.Response, error) {
	t.Helper()
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://pool/path", from)
	if err != nil {
		t.Fatal(err)
	}
	for f := range slices.Chunk(fields, 2) {
		req.Header.Set(f[0], f[1])
	}
	return p.RoundTrip(req)
}

// ask sends a request and returns all of the response's body.
func ask(t *testing.T, p *upstream.Pool, method, body string, fields ...string) (string, error) {
	t.Helper()
	res, err := begin(t, p, method, body, fields...)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// burst sends n requests at once and returns what they got.
func burst(t *testing.T, p *upstream.Pool, n int, method string) (texts []string, errs []error) {
	t.Helper()
	texts, errs = make([]string, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			body := ""
			if method == http.MethodPost {
				body = fmt.Sprint(i)
			}
			texts[i], errs[i] = ask(t, p, method, body)
		})
	}
	all.Wait()
	return texts, errs
}

// happened returns the events of a kind.
func happened(p *upstream.Pool, kind string) (found []upstream.Event) {
	events, _ := p.Events(0)
	return slices.DeleteFunc(events, func(e upstream.Event) bool { return e.Kind != kind })
}

// state returns what the pool says of an endpoint.
func state(p *upstream.Pool, endpoint string) (upstream.EndpointSnapshot, bool) {
	for _, e := range p.Snapshot().Endpoints {
		if e.Endpoint == endpoint {
			return e, true
		}
	}
	return upstream.EndpointSnapshot{}, false
}

// directory is a Resolver whose answer its test changes.
type directory struct {
	mu        sync.Mutex
	endpoints []upstream.Endpoint
	err       error
	valid     time.Duration
	asked     []time.Time
}

func (d *directory) Resolve(context.Context) ([]upstream.Endpoint, time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, time.Now())
	return d.endpoints, d.valid, d.err
}

func (d *directory) set(err error, hosts ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endpoints, d.err = nil, err
	for _, h := range hosts {
		d.endpoints = append(d.endpoints, upstream.Endpoint{Scheme: "http", Host: h})
	}
}

// listed returns a directory of hosts that holds for a second.
func listed(hosts ...string) *directory {
	d := &directory{valid: time.Second}
	d.set(nil, hosts...)
	return d
}

// framePeer is a server on bare HTTP/2 frames (RFC 9113 §4.1, §6).
type framePeer struct {
	net.Conn

	frames chan frame // of the client; closed with the connection
}

type frame struct {
	kind    byte
	stream  uint32
	payload []byte
}

const (
	dataFrame, headersFrame, resetFrame, settingsFrame, goAwayFrame = 0x0, 0x1, 0x3, 0x4, 0x7

	endStream, endHeaders = 0x1, 0x4
	refusedStream         = 0x7
)

func (p *framePeer) write(kind, flags byte, stream uint32, payload []byte) {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	head = binary.BigEndian.AppendUint32(append(head, flags), stream)
	_, _ = p.Write(append(head, payload...))
}

// settings are the first frame: so many streams.
func (p *framePeer) settings(streams uint32) {
	p.write(settingsFrame, 0, 0, binary.BigEndian.AppendUint32([]byte{0, 3}, streams))
}

func (p *framePeer) goAway(last uint32) {
	p.write(goAwayFrame, 0, 0, binary.BigEndian.AppendUint64(nil, uint64(last)<<32))
}

func (p *framePeer) reset(stream, code uint32) {
	p.write(resetFrame, 0, stream, binary.BigEndian.AppendUint32(nil, code))
}

// answer ends a stream with status 200, field 8 of RFC 7541's table, and text.
func (p *framePeer) answer(stream uint32, text string) {
	p.write(headersFrame, endHeaders, stream, []byte{0x88})
	p.write(dataFrame, endStream, stream, []byte(text))
}

// next returns the client's next frame of a kind; its stream is 0 when the
// connection has ended.
func (p *framePeer) next(kind byte) frame {
	for f := range p.frames {
		if f.kind == kind {
			return f
		}
	}
	return frame{}
}

func (p *framePeer) read() {
	defer close(p.frames)
	_, _ = io.CopyN(io.Discard, p, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(p, head); err != nil {
			return
		}
		payload := make([]byte, binary.BigEndian.Uint32(head)>>8)
		if _, err := io.ReadFull(p, payload); err != nil {
			return
		}
		p.frames <- frame{head[3], binary.BigEndian.Uint32(head[5:]), payload}
	}
}

// frames plugs in peers that do what play says on their nth connection, from 0,
// and then wait for the client to hang up.
func (b *switchboard) frames(t *testing.T, address string, play func(n int, p *framePeer)) {
	t.Helper()
	var all sync.WaitGroup
	var n atomic.Int32
	t.Cleanup(all.Wait)
	b.plug(address, func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		p := &framePeer{theirs, make(chan frame, 4096)}
		all.Go(p.read)
		all.Go(func() {
			defer theirs.Close()
			play(int(n.Add(1)-1), p)
			for range p.frames { //nolint:revive // until the client hangs up
			}
		})
		return ours, nil
	})
}

// serveFrames answers whatever comes on a connection.
func serveFrames(p *framePeer) {
	for {
		f := p.next(headersFrame)
		if f.stream == 0 {
			return
		}
		p.answer(f.stream, "ok")
	}
}

// gate holds handlers until it is opened.
type gate struct {
	once    sync.Once
	opened  chan struct{}
	waiting atomic.Int32
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Hold") != "" {
		g.waiting.Add(1)
		defer g.waiting.Add(-1)
		select {
		case <-g.opened:
		case <-r.Context().Done():
		}
	}
	_, _ = w.Write([]byte("ok"))
}

// noErrors fails the test at the first error, and says how many there are.
func noErrors(t *testing.T, errs []error) {
	t.Helper()
	errs = slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	if len(errs) > 0 {
		t.Fatalf("%d errors, like %v", len(errs), errs[0])
	}
}
