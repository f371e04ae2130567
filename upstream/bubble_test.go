package upstream_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// origin is one endpoint on connections in memory (net.Pipe: a write waits for
// its reader), which does what its test says. Set it up before the pool begins.
type origin struct {
	// before runs ahead of each dial, which it can delay or make fail. nil:
	// they succeed at once.
	before func(ctx context.Context) error
	// serve runs on a goroutine of its own for each connection, which is
	// closed when it returns. nil: [peer.answerAll].
	serve func(p *peer)

	mu            sync.Mutex
	begun         []time.Time // dials
	dialing, most int         // dials at once
	peers         []*peer
	serving       sync.WaitGroup
}

// peer is the server's end of a connection.
type peer struct {
	net.Conn

	n  int // 0 is the endpoint's first
	in *bufio.Reader
}

func (o *origin) dial(ctx context.Context) (net.Conn, error) {
	o.mu.Lock()
	o.begun = append(o.begun, time.Now())
	o.dialing++
	o.most = max(o.most, o.dialing)
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.dialing--
		o.mu.Unlock()
	}()
	if o.before != nil {
		if err := o.before(ctx); err != nil {
			return nil, err
		}
	}
	ours, theirs := net.Pipe()
	o.mu.Lock()
	defer o.mu.Unlock()
	p := &peer{Conn: theirs, n: len(o.peers), in: bufio.NewReader(theirs)}
	o.peers = append(o.peers, p)
	o.serving.Go(func() {
		defer p.Close()
		if o.serve == nil {
			p.answerAll()
			return
		}
		o.serve(p)
	})
	return ours, nil
}

// dials returns when the dials began.
func (o *origin) dials() []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.begun)
}

// peer returns the server's end of the nth connection.
func (o *origin) peer(n int) *peer {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.peers[n]
}

// next reads a request with its body; it reports false at the connection's end.
func (p *peer) next() (*http.Request, bool) {
	req, err := http.ReadRequest(p.in)
	if err != nil {
		return nil, false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return req, err == nil
}

// answer sends a response with the connection's number as its body; each
// header is a whole line.
func (p *peer) answer(headers ...string) {
	body := strconv.Itoa(p.n)
	headers = append(headers, "Content-Length: "+strconv.Itoa(len(body)))
	p.send("HTTP/1.1 200 OK\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n" + body)
}

func (p *peer) send(text string) { _, _ = io.WriteString(p, text) }

// answerAll answers every request at once. A path is a duration to think for.
func (p *peer) answerAll() {
	for {
		req, ok := p.next()
		if !ok {
			return
		}
		if d, err := time.ParseDuration(strings.Trim(req.URL.Path, "/")); err == nil {
			time.Sleep(d)
		}
		p.answer()
	}
}

// sleep waits and then for what that made begin.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// sim is a pool in a bubble.
type sim struct {
	*upstream.Pool

	t *testing.T
}

// inBubble runs f in a bubble of simulated time with a pool for the origins,
// a.test, b.test and so on, and checks at the end that every gauge is zero and
// that Close joins everything.
func inBubble(t *testing.T, cfg upstream.Config, f func(t *testing.T, s *sim), origins ...*origin) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		byHost := make(map[string]*origin)
		for i, o := range origins {
			host := string(rune('a'+i)) + ".test"
			cfg.Endpoints = append(cfg.Endpoints, "http://"+host)
			byHost[host+":80"] = o
		}
		cfg.Replaces = true // tests at the same time have the same names
		cfg.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
			return byHost[address].dial(ctx)
		}
		p, err := upstream.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := &sim{p, t}
		defer func() {
			p.Close()
			for _, o := range origins {
				for _, peer := range o.peers {
					_ = peer.Close()
				}
				o.serving.Wait()
			}
			s.isQuiet()
			if left := p.Connections(100); len(left) > 0 {
				t.Errorf("connections after Close: %+v", left)
			}
		}()
		f(t, s)
		synctest.Wait()
		s.isQuiet()
	})
}

// isQuiet checks that no request is under way, nor waits, nor a dial.
func (s *sim) isQuiet() {
	s.t.Helper()
	for _, e := range s.Snapshot().Endpoints {
		if e.InFlight+e.Waiting+e.Dialing+e.Active+e.Draining != 0 {
			s.t.Errorf("at the end, %s has %d in flight, %d waiting, %d dialing, %d active, %d draining",
				e.Endpoint, e.InFlight, e.Waiting, e.Dialing, e.Active, e.Draining)
		}
	}
}

// send sends a GET whose path may be a duration, see [peer.answerAll].
func (s *sim) send(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pool/"+path, nil)
	if err != nil {
		return nil, err
	}
	return s.RoundTrip(req)
}

// get sends a GET and returns the body: the number of the connection.
func (s *sim) get(path string) string {
	s.t.Helper()
	body, err := s.try(s.t.Context(), path)
	if err != nil {
		s.t.Errorf("GET /%s: %v", path, err)
	}
	return body
}

func (s *sim) try(ctx context.Context, path string) (string, error) {
	res, err := s.send(ctx, path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// endpoint returns the state of the nth endpoint.
func (s *sim) endpoint(n int) upstream.EndpointSnapshot { return s.Snapshot().Endpoints[n] }

// told returns the reasons and texts of all events of a kind so far.
func (s *sim) told(kind string) []string {
	var all []string
	events, _ := s.Events(0)
	for _, e := range events {
		if e.Kind == kind {
			all = append(all, strings.TrimPrefix(fmt.Sprintf("%s: %s", e.Reason, e.Why), ": "))
		}
	}
	return all
}

// saw checks that the texts of the events of a kind contain those given.
func (s *sim) saw(kind string, want ...string) {
	s.t.Helper()
	got := s.told(kind)
	if !slices.EqualFunc(got, want, strings.Contains) {
		s.t.Errorf("%s: %q, want %q", kind, got, want)
	}
}
