package rpc_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/internal/leak"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestMain(m *testing.M) { leak.Main(m) }

// site is a served Handler.
type site struct {
	*testing.T

	readers *deliver.Handler
	handler *rpc.Handler
	url     string
	client  *http.Client // speaks HTTP/2 without TLS
	plain   *http.Client // speaks HTTP/1.1
}

func serve(t *testing.T, d deliver.Config, c rpc.Config) *site {
	t.Helper()
	d.AllowPublish = d.PublishToken == ""
	s := &site{T: t, readers: deliver.New(d)}
	c.Readers = s.readers
	s.handler = rpc.New(c)
	server := httptest.NewUnstartedServer(s.handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	s.url = server.URL
	s.client = clientOf(t, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	s.plain = clientOf(t, func(p *http.Protocols) { p.SetHTTP1(true) })
	return s
}

func clientOf(t *testing.T, speak func(*http.Protocols)) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	speak(transport.Protocols)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// protocols are the ways to call.
var protocols = map[string][]connect.ClientOption{
	"grpc":     {connect.WithGRPC()},
	"grpcweb":  {connect.WithGRPCWeb()},
	"connect":  nil,
	"json":     {connect.WithProtoJSON()},
	"grpcjson": {connect.WithGRPC(), connect.WithProtoJSON()},
}

// each runs the test over each protocol that the versions of HTTP allow.
func (s *site) each(t *testing.T, test func(t *testing.T, c fairleadv1connect.TopicsClient)) {
	t.Helper()
	for name, options := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fairleadv1connect.NewTopicsClient(s.client, s.url, options...))
		})
		if name == "grpc" || name == "grpcjson" {
			continue
		}
		t.Run(name+" over HTTP/1.1", func(t *testing.T) {
			t.Parallel()
			test(t, fairleadv1connect.NewTopicsClient(s.plain, s.url, options...))
		})
	}
}

func (s *site) grpc() fairleadv1connect.TopicsClient {
	return fairleadv1connect.NewTopicsClient(s.client, s.url, connect.WithGRPC())
}

// publish publishes past the RPCs.
func (s *site) publish(name string, texts ...string) (last fairlead.Cursor) {
	s.Helper()
	for _, text := range texts {
		res, err := s.readers.Publish(context.Background(), http.Header{"Authorization": {"Bearer secret"}}, name,
			topic.Batch{Events: []fairlead.Event{{Data: []byte(text)}}})
		if err != nil {
			s.Fatal(err)
		}
		last = res.Last
	}
	return last
}

func (s *site) end(name string) {
	s.Helper()
	if _, err := s.readers.Publish(context.Background(), http.Header{}, name, topic.Batch{Close: true}); err != nil {
		s.Fatal(err)
	}
}

func event(text string) *fairleadv1.Event { return &fairleadv1.Event{Data: []byte(text)} }
