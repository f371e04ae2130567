package proxy_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/proxy"
)

func TestACallIsToldWhatIsWrongInItsOwnWords(t *testing.T) {
	t.Parallel()
	busy := fairlead.Errorf(fairlead.Overloaded, "busy: 100 %%")
	busy.RetryAfter = 1500 * time.Millisecond
	for kind, want := range map[string]string{ // the answer's media type
		"application/grpc":                            "application/grpc",
		"application/grpc+proto":                      "application/grpc+proto",
		"application/grpc+json; charset=utf-8":        "application/grpc+json",
		"application/grpc-web":                        "application/grpc-web",
		"application/grpc-web+proto ;x=1":             "application/grpc-web+proto",
		"application/grpc-web-text":                   "application/grpc-web-text",
		"application/grpc-web-text+proto":             "application/grpc-web-text+proto",
		"application/grpcish":                         "",
		"application/grpc-websocket":                  "",
		"application/grpc+proto, text/html":           "",
		"application/connect+proto":                   "",
		"application/proto":                           "",
		"application/json":                            "",
		"text/html; not-application/grpc":             "",
		"application/grpc-web-text+proto+application": "application/grpc-web-text+proto+application",
	} {
		r := httptest.NewRequest(http.MethodPost, "/a.B/C", nil)
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		proxy.Problem(w, r, fmt.Errorf("more: %w", busy))
		res := w.Result()
		h := res.Header
		if want == "" {
			if res.StatusCode != http.StatusServiceUnavailable || h.Get("Content-Type") != "application/problem+json" || h.Get("Grpc-Status") != "" || h.Get("Retry-After") != "2" {
				t.Errorf("%s: %d %v", kind, res.StatusCode, h)
			}
			continue
		}
		if res.StatusCode != http.StatusOK || h.Get("Content-Type") != want || h.Get("Grpc-Status") != "14" ||
			h.Get("Grpc-Message") != "busy: 100 %25" || h.Get("Grpc-Retry-Pushback-Ms") != "1500" || w.Body.Len() != 0 {
			t.Errorf("%s: %d %v", kind, res.StatusCode, h)
		}
		var details spb.Status
		var retry errdetails.RetryInfo
		text, err := base64.RawStdEncoding.DecodeString(h.Get("Grpc-Status-Details-Bin"))
		if err == nil {
			err = proto.Unmarshal(text, &details)
		}
		if err != nil || details.GetCode() != 14 || details.GetMessage() != "busy: 100 %" || len(details.GetDetails()) != 1 {
			t.Fatalf("%s: the details are %v, %v", kind, &details, err)
		}
		if err := details.GetDetails()[0].UnmarshalTo(&retry); err != nil || retry.GetRetryDelay().AsDuration() != 1500*time.Millisecond {
			t.Errorf("%s: RetryInfo is %v, %v", kind, &retry, err)
		}
	}
}

// called serves a proxy in memory, under simulated time, in front of a transport.
func called(t *testing.T, up roundTrip, observed *[]error) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h := proxy.New(proxy.Config{Target: target(t, "http://up"), Transport: up, Observe: func(o proxy.Outcome) { *observed = append(*observed, o.Err) }})
	return memnet.Serve(t, &http.Server{Handler: h, Protocols: protocols}, &http.Transport{Protocols: protocols}).Client
}

func call(t *testing.T, c *http.Client, timeouts ...string) *http.Response {
	t.Helper()
	return callAs(t, c, "application/grpc", timeouts...)
}

func callAs(t *testing.T, c *http.Client, kind string, timeouts ...string) *http.Response {
	t.Helper()
	body, w := io.Pipe() // of a stream whose client is silent
	t.Cleanup(func() { _ = w.Close() })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://front/a.B/C", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header["Grpc-Timeout"] = timeouts
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestACallEndsAtItsDeadlineBeforeItsResponse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []error
		c := called(t, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, &seen)
		for _, sent := range []string{"250m", "3S", "0n", "00000001H"} {
			began := time.Now()
			res := call(t, c, sent)
			want := map[string]time.Duration{"250m": 250 * time.Millisecond, "3S": 3 * time.Second, "0n": 0, "00000001H": time.Hour}[sent]
			if took := time.Since(began); took != want || res.StatusCode != http.StatusOK || res.Header.Get("Grpc-Status") != "4" {
				t.Errorf("%s: %v after %v", sent, res.Header, took)
			}
		}
		synctest.Wait()
		for _, err := range seen {
			if fairlead.AsError(err).Code != fairlead.DeadlineExceeded {
				t.Error(err)
			}
		}
	})
}

func TestATimeoutThatCannotBeReadIsRefusedBeforeTheUpstreamSeesIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []error
		c := called(t, func(*http.Request) (*http.Response, error) {
			t.Error("the upstream was asked")
			return nil, errors.New("unexpected")
		}, &seen)
		for _, sent := range [][]string{{"soon"}, {""}, {"123456789S"}, {"-1S"}, {"1S", "2S"}} {
			res := call(t, c, sent...)
			if res.StatusCode != http.StatusOK || res.Header.Get("Grpc-Status") != "3" || !strings.Contains(res.Header.Get("Grpc-Message"), "grpc-timeout") {
				t.Errorf("%q: %d %v", sent, res.StatusCode, res.Header)
			}
		}
	})
}

// cutBody has some bytes, and then waits until its request's context ends.
type cutBody struct {
	io.Reader

	ctx context.Context //nolint:containedctx // a body outlives the call that makes it
}

func (b *cutBody) Read(p []byte) (int, error) {
	if n, err := b.Reader.Read(p); err == nil {
		return n, nil
	}
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}

func (*cutBody) Close() error { return nil }

func TestACallEndsAtItsDeadlineWithinItsResponse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []error
		c := called(t, func(r *http.Request) (*http.Response, error) {
			h := http.Header{"Content-Type": {"application/grpc"}}
			return &http.Response{StatusCode: http.StatusOK, Header: h, ContentLength: -1, Body: &cutBody{strings.NewReader("12345"), r.Context()}}, nil
		}, &seen)
		began := time.Now()
		res := call(t, c, "2S")
		body, err := io.ReadAll(res.Body)
		if took := time.Since(began); took != 2*time.Second || err != nil || string(body) != "12345" || res.Trailer.Get("Grpc-Status") != "4" {
			t.Errorf("%q, %v, %v after %v", body, err, res.Trailer, took)
		}
		synctest.Wait()
		if len(seen) != 1 || fairlead.AsError(seen[0]).Code != fairlead.DeadlineExceeded {
			t.Error(seen)
		}
	})
}

// TestACallOfGRPCWebIsEndedByItsUpstream which tells why within the body.
func TestACallOfGRPCWebIsEndedByItsUpstream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		late := 100 * time.Millisecond
		var began time.Time
		c := called(t, func(r *http.Request) (*http.Response, error) {
			due, ok := r.Context().Deadline()
			if !ok || due.Sub(began) != 2*time.Second {
				t.Errorf("the upstream is told %v, %v", due.Sub(began), ok)
			}
			read, write := io.Pipe()
			go func() {
				_, _ = io.WriteString(write, "12345")
				select {
				case <-time.After(2*time.Second + late):
					_, _ = io.WriteString(write, "trailers")
					_ = write.Close()
				case <-r.Context().Done():
					_ = write.CloseWithError(r.Context().Err())
				}
			}()
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": r.Header["Content-Type"]}, ContentLength: -1, Body: read}, nil
		}, new([]error))
		for _, one := range []struct {
			late time.Duration
			want string
			took time.Duration
		}{{100 * time.Millisecond, "12345trailers", 2100 * time.Millisecond}, {time.Hour, "12345", 2500 * time.Millisecond}} {
			began, late = time.Now(), one.late
			res := callAs(t, c, "application/grpc-web+proto", "2S")
			body, err := io.ReadAll(res.Body)
			if took := time.Since(began); string(body) != one.want || took != one.took || (err != nil) != (one.late > time.Second) {
				t.Errorf("%q, %v after %v", body, err, took)
			}
		}
	})
}

func TestABodyThatBreaksOffEndsACallWithAStatusAndResetsOthers(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{"application/grpc+proto": "13", "application/grpc-web+proto": "", "application/connect+proto": "", "text/plain": ""} {
		up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}), overTLS)
		s := front(t, up, proxy.Config{}, overTLS)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(body) != "half" || (err == nil) != (want != "") || res.Trailer.Get("Grpc-Status") != want {
			t.Errorf("%s: %q, %v, %v", kind, body, err, res.Trailer)
		}
	}
}

// frames is a client of HTTP/2 that sees what is on the wire.
type frames struct {
	*http2.Framer
	t *testing.T
}

func openFrames(t *testing.T, s *httptest.Server) *frames {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(hang))
	f := &frames{http2.NewFramer(conn, conn), t}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, _ = io.WriteString(conn, http2.ClientPreface)
	f.must(f.WriteSettings())
	f.must(f.WriteSettingsAck())
	return f
}

func (f *frames) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// ask begins a call.
func (f *frames) ask(id uint32, path string) {
	f.t.Helper()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, field := range []string{":method POST", ":scheme http", ":authority front", ":path " + path, "content-type application/grpc", "te trailers"} {
		name, value, _ := strings.Cut(field, " ")
		f.must(enc.WriteField(hpack.HeaderField{Name: name, Value: value}))
	}
	f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}))
}

// of returns the next frame of a stream, with a line about it.
func (f *frames) of(id uint32) string {
	f.t.Helper()
	for {
		frame, err := f.ReadFrame()
		f.must(err)
		if frame.Header().StreamID != id {
			continue
		}
		ended := ""
		if frame.Header().Flags.Has(http2.FlagDataEndStream) {
			ended = " END"
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			var fields []string
			for _, field := range frame.Fields {
				if field.Name == ":status" || strings.HasPrefix(field.Name, "grpc-") || strings.HasPrefix(field.Name, "x-") {
					fields = append(fields, field.Name+"="+field.Value)
				}
			}
			return "HEADERS " + strings.Join(fields, " ") + ended
		case *http2.DataFrame:
			return fmt.Sprintf("DATA %q", frame.Data()) + ended
		case *http2.RSTStreamFrame:
			return "RST_STREAM " + frame.ErrCode.String()
		}
	}
}

func (f *frames) want(id uint32, want ...string) {
	f.t.Helper()
	for _, want := range want {
		if got := f.of(id); got != want {
			f.t.Fatalf("%s, want %s", got, want)
		}
	}
}

func TestTheFramesOfACallPassAsTheyAre(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Te") != "trailers" || r.ProtoMajor != 2 {
			t.Errorf("the upstream saw %s %v", r.Proto, r.Header)
		}
		h, rc := w.Header(), http.NewResponseController(w)
		h.Set("Content-Type", "application/grpc")
		switch r.URL.Path {
		case "/refused": // trailers only
			h.Set("Grpc-Status", "7")
			h.Set("Grpc-Status-Details-Bin", "CAc")
			h.Set("X-Bytes-Bin", "AP8,AQ")
		case "/early": // the header before any message, and the end before the client's
			_ = rc.Flush()
			<-next
			_, _ = io.WriteString(w, "a message")
			_ = rc.Flush()
			<-next
			h.Set(http.TrailerPrefix+"Grpc-Status", "0")
			h.Set(http.TrailerPrefix+"X-Last", "1")
		case "/echo": // one message each way, by turns, until the client's end
			_ = rc.EnableFullDuplex()
			buf := make([]byte, 100)
			for {
				n, err := r.Body.Read(buf)
				_, _ = w.Write(buf[:n])
				_ = rc.Flush()
				if err != nil {
					h.Set(http.TrailerPrefix+"Grpc-Status", "0")
					return
				}
			}
		}
	}), overH2C)
	transport := proxy.NewTransport()
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	f := openFrames(t, front(t, up, proxy.Config{Transport: transport}, overH2C))

	f.ask(1, "/refused")
	f.want(1, "HEADERS :status=200 grpc-status=7 grpc-status-details-bin=CAc x-bytes-bin=AP8,AQ END")
	f.want(1, "RST_STREAM NO_ERROR")

	f.ask(3, "/early")
	f.want(3, "HEADERS :status=200")
	next <- struct{}{}
	f.want(3, `DATA "a message"`)
	next <- struct{}{}
	f.want(3, "HEADERS grpc-status=0 x-last=1 END", "RST_STREAM NO_ERROR")

	f.ask(5, "/echo")
	for i := range 3 {
		f.must(f.WriteData(5, false, fmt.Append(nil, i)))
		if i == 0 {
			f.want(5, "HEADERS :status=200")
		}
		f.want(5, fmt.Sprintf(`DATA "%d"`, i))
	}
	f.must(f.WriteData(5, true, nil))
	f.want(5, "HEADERS grpc-status=0 END")
}
