package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/fairlead-edge/fairlead/proxy"
)

// backend is one connection of an upstream on bare frames.
type backend struct {
	*http2.Framer

	conn io.Closer
}

// send sends a block of fields, each "name value".
func (b *backend) send(id uint32, end bool, fields ...string) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, field := range fields {
		name, value, _ := strings.Cut(field, " ")
		_ = enc.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	// Its errors are those of a proxy that has hung up.
	_ = b.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
}

// frontOf serves a proxy before an upstream on bare frames, which answers each
// request by play.
func frontOf(t *testing.T, play func(b *backend, id uint32, path string), configure ...func(*httptest.Server)) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				answerFrames(conn, play)
			})
		}
	})
	transport := proxy.NewTransport()
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	// Not the transport itself, which hides two of the codes: those of requests that it
	// would send again, were it not for their bodies. A third spoils its connection.
	each := roundTrip(func(r *http.Request) (*http.Response, error) {
		conn, err := transport.NewClientConn(r.Context(), "http", l.Addr().String())
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn.RoundTrip(r)
	})
	return serve(t, proxy.New(proxy.Config{Target: target(t, "http://"+l.Addr().String()), Transport: each}), configure...)
}

func answerFrames(conn net.Conn, play func(b *backend, id uint32, path string)) {
	_, _ = io.CopyN(io.Discard, conn, int64(len(http2.ClientPreface)))
	b := &backend{http2.NewFramer(conn, conn), conn}
	b.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = b.WriteSettings()
	for {
		frame, err := b.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = b.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = b.WritePing(true, frame.Data)
			}
		case *http2.MetaHeadersFrame:
			play(b, frame.StreamID, frame.PseudoValue("path"))
		}
	}
}

const answered, ofGRPC = ":status 200", "content-type application/grpc"

func TestAResetByTheUpstreamIsToldByTheStatusThatGRPCHasForIt(t *testing.T) {
	t.Parallel()
	code := http2.ErrCodeNo
	next := make(chan struct{})
	s := frontOf(t, func(b *backend, id uint32, path string) {
		switch path {
		case "/within":
			b.send(id, false, answered, ofGRPC)
			_ = b.WriteData(id, false, []byte("a message"))
			<-next // what net/http has not read when the reset comes, it drops
		case "/wrong":
			b.send(id, false, ":status none")
			return
		case "/away":
			_ = b.WriteGoAway(id, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings"))
			_ = b.conn.Close()
			return
		}
		_ = b.WriteRSTStream(id, code)
	}, overH2C)
	f := openFrames(t, s)
	id := uint32(1)
	for _, code = range []http2.ErrCode{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99} {
		status := map[http2.ErrCode]int{7: 14, 8: 1, 11: 8, 12: 7}[code]
		if status == 0 {
			status = 13
		}
		name := code.String()
		if code == 99 {
			name = "an unknown code"
		}
		told := fmt.Sprintf("grpc-message=the upstream reset the stream: %s grpc-status=%d END", name, status)
		f.ask(id, "/before")
		f.want(id, "HEADERS :status=200 "+told)
		id += 2
		f.ask(id, "/within")
		f.want(id, "HEADERS :status=200", `DATA "a message"`)
		next <- struct{}{}
		f.want(id, "HEADERS "+told)
		id += 2
	}
	f.ask(id, "/wrong")
	f.want(id, "HEADERS :status=200 grpc-message=the upstream broke the rules of HTTP/2: PROTOCOL_ERROR grpc-status=13 END")
	f.ask(id+2, "/away")
	f.want(id+2, "HEADERS :status=200 grpc-message=the upstream went away before it answered grpc-status=14 END")

	code = http2.ErrCodeCancel
	res, err := h2cClient(t).Post(s.URL, "text/plain", strings.NewReader("no call"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusBadGateway || !strings.Contains(string(body), "the upstream reset the stream: CANCEL") {
		t.Errorf("%d %s, %v", res.StatusCode, body, err)
	}
}

func TestACallHasOneStatusWhenItsAnswerIsShorterThanItSays(t *testing.T) {
	t.Parallel()
	f := openFrames(t, frontOf(t, func(b *backend, id uint32, _ string) {
		b.send(id, false, answered, ofGRPC, "content-length 100")
		_ = b.WriteData(id, false, []byte("a message"))
		b.send(id, true, "grpc-status 0", "x-last 1")
	}, overH2C))
	f.ask(1, "/")
	f.want(1, "HEADERS :status=200", `DATA "a message"`, "HEADERS grpc-message=the upstream broke off grpc-status=14 END")
}

func TestALengthDoesNotKeepTheTrailersOfACallFromItsClient(t *testing.T) {
	t.Parallel()
	s := frontOf(t, func(b *backend, id uint32, _ string) {
		b.send(id, false, answered, ofGRPC, "content-length 9")
		_ = b.WriteData(id, false, []byte("a message"))
		b.send(id, true, "grpc-status 0")
	})
	res, err := s.Client().Post(s.URL, "application/grpc", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "a message" || fmt.Sprint(res.Trailer) != "map[Grpc-Status:[0]]" {
		t.Errorf("%q, %v, %v", body, res.Trailer, err)
	}
}

func TestTrailersOfTheUpstreamThatMayBeNoneDoNotPass(t *testing.T) {
	t.Parallel()
	for _, announced := range []bool{true, false} {
		s := frontOf(t, func(b *backend, id uint32, _ string) {
			head := []string{answered, ofGRPC}
			if announced {
				head = append(head, "trailer grpc-status, connection, set-cookie, x-last")
			}
			b.send(id, false, head...)
			_ = b.WriteData(id, false, []byte("a message"))
			// net/http lets none of these pass that are fields of HTTP/1.1's connections.
			b.send(id, true, "grpc-status 0", "content-length 5", "set-cookie a=b", "cache-control no-store", "if-match x", "www-authenticate Basic", "x-forwarded-for 1", "x-last 1")
		})
		c := dial(t, s).send("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\nTE: trailers\r\n\r\n")
		res := c.response()
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != "a message" || fmt.Sprint(res.Trailer) != "map[Grpc-Status:[0] X-Last:[1]]" {
			t.Errorf("announced %v: %q, %v, %v", announced, body, res.Trailer, err)
		}
		if text := fmt.Sprint(res.Header); strings.Contains(strings.ToLower(text), "cookie") {
			t.Errorf("announced %v: %s", announced, text)
		}
	}
}

// h2cClient returns a client of HTTP/2 without TLS.
func h2cClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
