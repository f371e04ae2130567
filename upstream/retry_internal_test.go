package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/internal/memnet"
)

func TestARequestIsSentAgainOnlyForAReason(t *testing.T) {
	broken := errors.New("connection reset by peer")
	for _, c := range []struct {
		name, method, key string
		e                 evidence
		want              retryClass
	}{
		{"nothing was written", "POST", "", evidence{err: broken}, retryUnsent},
		{"an answer to nothing", "POST", "", evidence{err: broken, read: true}, retryUnsent},
		{"half an answer", "GET", "k", evidence{err: broken, wrote: true, read: true, proven: true}, retryNever},
		{"no answer", "", "", evidence{err: broken, wrote: true}, retryIdempotent},
		{"no answer", "DELETE", "", evidence{err: broken, wrote: true}, retryIdempotent},
		{"no answer", "PUT", "k", evidence{err: broken, wrote: true}, retryIdempotent},
		{"no answer", "POST", "", evidence{err: broken, wrote: true}, retryNever},
		{"no answer", "CONNECT", "", evidence{err: broken, wrote: true}, retryNever},
		{"no answer", "POST", "k", evidence{err: broken, wrote: true}, retryKey},
		{"no answer, proven unread", "POST", "", evidence{err: broken, wrote: true, proven: true}, retryProven},
		{"a text of HTTP/2 elsewhere", "POST", "", evidence{err: errors.New(textNotUsable), wrote: true}, retryNever},
		{"a text that the peer chose", "POST", "", evidence{err: errors.New(`debug="` + textGoAway + `"`), wrote: true, http2: true}, retryNever},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://a/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.key != "" {
			req.Header.Set("Idempotency-Key", c.key)
		}
		if got := classify(req, c.e); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.method, c.name, got, c.want)
		}
		if c.want.costs() != (c.want == "idempotent" || c.want == "key") {
			t.Errorf("%s: what it costs is wrong", c.want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got := classify(req.WithContext(ctx), c.e); got != retryNever {
			t.Errorf("%s %s: %q although its client has left", c.method, c.name, got)
		}
	}
}

// peer is a server on bare HTTP/2 frames (RFC 9113 §4.1, §6), which breaks off
// where it likes.
type peer struct {
	net.Conn

	frames chan sentFrame // of the client; closed with the connection
}

type sentFrame struct {
	kind   byte
	stream uint32
}

const (
	frameData, frameHeaders, frameReset = 0x0, 0x1, 0x3
	frameSettings, frameGoAway          = 0x4, 0x7
	codeNone, codeInternal, codeCalm    = 0x0, 0x2, 0xb
)

func (p *peer) write(kind, flags byte, stream uint32, payload []byte) {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	head = binary.BigEndian.AppendUint32(append(head, flags), stream)
	_, _ = p.Write(append(head, payload...)) // the client has gone: its error is what counts
}

func (p *peer) goAway(last, code uint32, debug string) {
	payload := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, last), code)
	p.write(frameGoAway, 0, 0, append(payload, debug...))
}

func (p *peer) reset(stream, code uint32) {
	p.write(frameReset, 0, stream, binary.BigEndian.AppendUint32(nil, code))
}

// answer ends a stream with status 200, which is field 8 of RFC 7541's table.
func (p *peer) answer(stream uint32) { p.write(frameHeaders, 0x5, stream, []byte{0x88}) }

// until waits for a frame of a kind, and returns its stream.
func (p *peer) until(kind byte) uint32 {
	for f := range p.frames {
		if f.kind == kind {
			return f.stream
		}
	}
	return 0
}

// read reads the client's frames, so that it never waits for the peer.
func (p *peer) read() {
	defer close(p.frames)
	_, _ = io.CopyN(io.Discard, p, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(p, head); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, p, int64(binary.BigEndian.Uint32(head)>>8)); err != nil {
			return
		}
		p.frames <- sentFrame{head[3], binary.BigEndian.Uint32(head[5:])}
	}
}

// connect returns a connection to a peer that does what play says, after its
// settings, and then hangs up.
func connect(t *testing.T, http2 bool, play func(*peer)) *http.ClientConn {
	t.Helper()
	network := memnet.New()
	transport := &http.Transport{DialContext: network.Dial, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetUnencryptedHTTP2(http2)
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := network.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		p := &peer{conn, make(chan sentFrame, 64)}
		if http2 {
			wg.Go(p.read)
			p.write(frameSettings, 0, 0, nil)
		}
		play(p)
	})
	cc, err := transport.NewClientConn(t.Context(), "http", "a:80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cc.Close()
		_ = network.Close()
		wg.Wait()
	})
	return cc
}

// send makes one attempt.
func send(t *testing.T, cc *http.ClientConn, req *http.Request) error {
	t.Helper()
	res, err := cc.RoundTrip(req)
	if err == nil {
		_ = res.Body.Close()
	}
	return err
}

func requestOf(t *testing.T, method, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://a/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestHTTP2SaysWhatItsPeerDidNotActOn(t *testing.T) {
	first := func(p *peer) { p.answer(p.until(frameHeaders)) }
	// Peers wait for the body: one that hangs up while the client writes may
	// have its last frame overtaken by the failure of that write.
	for _, c := range []struct {
		name      string
		warm      bool // the stream is not the first of its connection
		play      func(*peer)
		text      string // of the error, in part
		post, put retryClass
	}{
		{"REFUSED_STREAM", false, func(p *peer) { p.reset(p.until(frameData), codeRefusedStream) }, "REFUSED_STREAM", retryRefused, retryRefused},
		{"another reset", false, func(p *peer) { p.reset(p.until(frameData), codeInternal) }, "INTERNAL_ERROR", retryNever, retryIdempotent},
		{"GOAWAY below the stream", true, func(p *peer) { p.until(frameData); p.goAway(1, codeNone, "") }, textGoAway, retryRefused, retryRefused},
		{"GOAWAY below the first stream", false, func(p *peer) { p.until(frameData); p.goAway(0, codeNone, "") }, textGoAway, retryRefused, retryRefused},
		{"GOAWAY at the stream", true, func(p *peer) { p.goAway(p.until(frameData), codeNone, "") }, "http2: server sent GOAWAY and closed the connection", retryNever, retryIdempotent},
		{"ENHANCE_YOUR_CALM below the stream", true, func(p *peer) { p.until(frameData); p.goAway(1, codeCalm, "") }, textGoAway, retryRefused, retryRefused},
		{"ENHANCE_YOUR_CALM below the first", false, func(p *peer) { p.until(frameData); p.goAway(0, codeCalm, "") }, textGoAwayFirst, retryRefused, retryRefused},
		{"ENHANCE_YOUR_CALM at the stream", false, func(p *peer) { p.goAway(p.until(frameData), codeCalm, textGoAway) }, "ENHANCE_YOUR_CALM", retryNever, retryIdempotent},
		{"GOAWAY twice, then below", true, func(p *peer) { p.until(frameData); p.goAway(1<<31-1, codeNone, ""); p.goAway(1, codeNone, "") }, textGoAway, retryRefused, retryRefused},
		{"closed after the header", false, func(p *peer) { p.until(frameHeaders) }, "", retryNever, retryIdempotent},
		{"closed after the body", true, func(p *peer) { p.until(frameData) }, "unexpected EOF", retryNever, retryIdempotent},
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut} {
			want := c.post
			if method != http.MethodPost {
				want = c.put
			}
			synctest.Test(t, func(t *testing.T) {
				cc := connect(t, true, func(p *peer) {
					if c.warm {
						first(p)
					}
					c.play(p)
				})
				if c.warm {
					if err := send(t, cc, requestOf(t, http.MethodGet, "")); err != nil {
						t.Fatal(err)
					}
				}
				req := requestOf(t, method, "body")
				err := send(t, cc, req)
				if err == nil || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%s: net/http says %v, not %q", c.name, err, c.text)
				}
				if got := classify(req, evidence{err: err, http2: true, wrote: true}); got != want {
					t.Errorf("%s %s: %q, want %q (%v)", method, c.name, got, want, err)
				}
			})
		}
	}
}

func TestHTTP2SaysWhenAConnectionEndedBeforeTheRequest(t *testing.T) {
	for _, c := range []struct {
		name string
		warm bool
		play func(*peer)
		text string
	}{
		{"closed before its first request", false, func(*peer) {}, textNotEstablished},
		{"closed while idle", true, func(*peer) {}, textNotUsable},
		{"GOAWAY while idle", true, func(p *peer) { p.goAway(1, codeNone, ""); p.until(frameGoAway) }, textNotUsable},
	} {
		synctest.Test(t, func(t *testing.T) {
			cc := connect(t, true, func(p *peer) {
				if c.warm {
					p.answer(p.until(frameHeaders))
				}
				c.play(p)
			})
			if c.warm {
				if err := send(t, cc, requestOf(t, http.MethodGet, "")); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			req := requestOf(t, http.MethodPost, "body")
			err := send(t, cc, req)
			if err == nil || err.Error() != c.text {
				t.Errorf("%s: net/http says %v, not %q", c.name, err, c.text)
			}
			if got := classify(req, evidence{err: err, http2: true, wrote: true}); got != retryUnsent {
				t.Errorf("%s: %q (%v)", c.name, got, err)
			}
		})
	}
}

func TestARequestThatIsWrongIsWrongEverywhere(t *testing.T) {
	for name, spoil := range map[string]func(*http.Request){
		"a header":   func(r *http.Request) { r.Header["a b"] = []string{"c"} },
		"a value":    func(r *http.Request) { r.Header.Set("a", "\n") },
		"a trailer":  func(r *http.Request) { r.Trailer = http.Header{"a b": nil} },
		"the method": func(r *http.Request) { r.Method = "P T" },
		"no host":    func(r *http.Request) { r.URL.Host = "" },
		"no header":  func(r *http.Request) { r.Header = nil },
	} {
		for _, http2 := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				cc := connect(t, http2, func(p *peer) {
					if http2 {
						p.until(frameGoAway) // none comes: the end of the connection
					} else {
						_, _ = io.Copy(io.Discard, p)
					}
				})
				req := requestOf(t, http.MethodPut, "body")
				spoil(req)
				err := send(t, cc, req)
				if got := classify(req, evidence{err: err, http2: http2}); err == nil || got != retryNever {
					t.Errorf("%s, HTTP/2 %v: %q (%v)", name, http2, got, err)
				}
			})
		}
	}
}

func TestABodyLongerThanItsLengthIsTheRequestsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cc := connect(t, true, func(p *peer) { p.until(frameGoAway) })
		req := requestOf(t, http.MethodPut, "body")
		req.ContentLength = 1
		err := send(t, cc, req)
		if got := classify(req, evidence{err: err, http2: true, wrote: true}); err == nil || got != retryNever {
			t.Errorf("%q (%v)", got, err)
		}
	})
}

func TestABodyThatWasHalfSentIsWholeInTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newFedBody([]byte("hello, world"), io.EOF)
		req := requestOf(t, http.MethodPost, "")
		req.Body, req.ContentLength = source, -1
		body := newReplay(req, 64)
		refusing := connect(t, true, func(p *peer) { p.reset(p.until(frameData), codeRefusedStream) })
		out := req.WithContext(t.Context())
		out.Body = body.attempt(nil)
		var wg sync.WaitGroup
		var err error
		wg.Go(func() { err = send(t, refusing, out) })
		source.feed(5)
		source.feed(0) // net/http waits for its Read to return
		wg.Wait()
		if got := classify(req, evidence{err: err, http2: true, wrote: true}); got != retryRefused || !body.again() {
			t.Fatalf("%q, %v", got, err)
		}
		var got []byte
		next := body.attempt(nil)
		body.settle()
		wg.Go(func() { got, err = io.ReadAll(next) })
		source.feed(64)
		wg.Wait()
		if err != nil || string(got) != "hello, world" {
			t.Errorf("%q, %v", got, err)
		}
		_ = next.Close()
		if source.closes.Load() != 1 {
			t.Error("not closed")
		}
	})
}

func TestTheBudgetIsAShareOfTheRequestsAndAFewASecond(t *testing.T) {
	now := time.Now()
	taken := func(b *budget) (n int) {
		for b.take(now) {
			n++
		}
		return n
	}
	b := newBudget(0.2)
	if n := taken(b); n != 30 {
		t.Errorf("a new pool may retry %d times", n)
	}
	for range 10 {
		b.request()
	}
	if n := taken(b); n != 2 {
		t.Errorf("%d of 10 requests", n)
	}
	now = now.Add(4 * time.Second)
	if n := taken(b); n != 12 {
		t.Errorf("%d in 4 s", n)
	}
	for range 10_000 {
		b.request()
	}
	now = now.Add(time.Hour)
	if n := taken(b); n != 100 {
		t.Errorf("the bucket holds %d", n)
	}
	now = now.Add(-time.Hour)
	if n := taken(b); n != 0 {
		t.Errorf("%d when the clock goes back", n)
	}
	if n := taken(newBudget(-1)); n != 0 {
		t.Errorf("%d without a budget", n)
	}
}
