package daemon_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/quic-go/quic-go/http3"
	"google.golang.org/protobuf/proto"

	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/websocket"
)

// leg reads n events of the topic after the cursor, over a transport of its own.
type leg struct {
	name string
	read func(t *testing.T, p *program, after string, n int) (data []string, cursor string)
}

var legs = []leg{
	{"SSE", func(t *testing.T, p *program, after string, n int) (data []string, cursor string) {
		s := stream(t, p.http+"/topics/a", "Last-Event-ID", after)
		for range n {
			id, _, text, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			data, cursor = append(data, text), id
		}
		_ = s.res.Body.Close()
		return data, cursor
	}},
	{"gRPC over HTTP/2 without TLS", called(overH2C, connect.WithGRPC())},
	{"fairlead.v1.json", func(t *testing.T, p *program, after string, n int) (data []string, cursor string) {
		c := openSocket(t, p, "/topics", "fairlead.v1.json")
		if err := c.Write(websocket.Text, fmt.Appendf(nil, `{"id":1,"subscribe":"a","after":%q}`, after)); err != nil {
			t.Fatal(err)
		}
		for len(data) < n {
			var m struct {
				Event *struct{ Cursor, Data string }
			}
			if err := json.Unmarshal(readSocket(t, c), &m); err != nil {
				t.Fatal(err)
			}
			if m.Event != nil {
				data, cursor = append(data, m.Event.Data), m.Event.Cursor
			}
		}
		return data, cursor
	}},
	{"Connect over HTTP/1.1", called(overH1)},
	{"fairlead.v1.proto", func(t *testing.T, p *program, after string, n int) (data []string, cursor string) {
		c := openSocket(t, p, "/topics", "fairlead.v1.proto")
		m, err := proto.Marshal(&fairleadv1.SessionRequest{Action: &fairleadv1.SessionRequest_Subscribe_{
			Subscribe: &fairleadv1.SessionRequest_Subscribe{Topic: "a", After: after},
		}})
		if err == nil {
			err = c.Write(websocket.Binary, m)
		}
		for err == nil && len(data) < n {
			var res fairleadv1.SessionResponse
			err = proto.Unmarshal(readSocket(t, c), &res)
			if e := res.GetEvent(); e != nil {
				data, cursor = append(data, string(e.GetData())), e.GetCursor()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return data, cursor
	}},
	{"long-poll", func(t *testing.T, p *program, after string, n int) (data []string, cursor string) {
		_, text := answer(t, http.MethodGet, p.http+"/topics/a?wait=1&limit="+fmt.Sprint(n)+"&after="+url.QueryEscape(after), "", "Accept", "application/json")
		var page struct {
			Events []struct{ Data string }
			Next   string
		}
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			data = append(data, e.Data)
		}
		return data, page.Next
	}},
	{"gRPC-Web over HTTP/2 with TLS", called(overH2, connect.WithGRPCWeb())},
	{"the WebSocket of one topic", func(t *testing.T, p *program, after string, n int) (data []string, cursor string) {
		c := openSocket(t, p, "/topics/a?after="+url.QueryEscape(after))
		for range n {
			var e struct{ Cursor, Data string }
			if err := json.Unmarshal(readSocket(t, c), &e); err != nil {
				t.Fatal(err)
			}
			data, cursor = append(data, e.Data), e.Cursor
		}
		return data, cursor
	}},
	{"gRPC over HTTP/3", called(overH3, connect.WithGRPC())},
	{"Connect in JSON over HTTP/2", called(overH2C, connect.WithProtoJSON())},
}

func TestOneCursorIsHandedAlongAllTransports(t *testing.T) {
	p, _ := secured(t, certificates)
	cursor, at := "earliest", 0
	const each = 3
	for i := range each * len(legs) * 2 {
		answer(t, http.MethodPost, p.http+"/topics/a", fmt.Sprint(i), "Content-Type", "text/plain")
	}
	for range 2 { // twice, so that each follows another than at first
		for _, leg := range legs {
			data, next := leg.read(t, p, cursor, each)
			for _, text := range data {
				if text != fmt.Sprint(at) {
					t.Fatalf("%s: got %q, want event %d next", leg.name, data, at)
				}
				at++
			}
			if len(data) != each || next == "" {
				t.Fatalf("%s: got %q, and the cursor %q", leg.name, data, next)
			}
			cursor = next
		}
	}
}

// The ways a call can be made.
func overH1(p *program) (*http.Client, string) {
	return &http.Client{Transport: &http.Transport{}}, p.http
}

func overH2C(p *program) (*http.Client, string) {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: transport}, p.http
}

var anyCertificate = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the certificate is made for the test

func overH2(p *program) (*http.Client, string) {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: anyCertificate, ForceAttemptHTTP2: true}}, p.https
}

func overH3(p *program) (*http.Client, string) {
	return &http.Client{Transport: &http3.Transport{TLSClientConfig: anyCertificate}}, p.https
}

// called reads by the call Subscribe.
func called(over func(*program) (*http.Client, string), options ...connect.ClientOption) func(t *testing.T, p *program, after string, n int) ([]string, string) {
	return func(t *testing.T, p *program, after string, n int) (data []string, cursor string) {
		t.Helper()
		client, base := over(p)
		defer func() {
			client.CloseIdleConnections()
			if c, ok := client.Transport.(*http3.Transport); ok {
				_ = c.Close()
			}
		}()
		stream, err := fairleadv1connect.NewTopicsClient(client, base, options...).
			Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a", After: after}))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = stream.Close() }()
		for len(data) < n {
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
			if e := stream.Msg().GetEvent(); e != nil {
				data, cursor = append(data, string(e.GetData())), stream.Msg().GetCursor()
			}
		}
		return data, cursor
	}
}

func openSocket(t *testing.T, p *program, path string, protocols ...string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(p.http, "http")+path, websocket.DialConfig{Config: websocket.Config{Subprotocols: protocols}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func readSocket(t *testing.T, c *websocket.Conn) []byte {
	t.Helper()
	_, m, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	return m
}
