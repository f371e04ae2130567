package interceptor_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead/internal/leak"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
)

func TestMain(m *testing.M) { leak.Main(m) }

// service answers as it is told by the topic's name.
type service struct {
	fairleadv1connect.UnimplementedTopicsHandler
}

func (service) Publish(_ context.Context, req *connect.Request[fairleadv1.PublishRequest]) (*connect.Response[fairleadv1.PublishResponse], error) {
	return connect.NewResponse(&fairleadv1.PublishResponse{}), act(req.Msg.GetTopic())
}

func act(what string) error {
	switch what {
	case "panic":
		panic("a secret")
	case "abort":
		panic(http.ErrAbortHandler)
	case "fail":
		return connect.NewError(connect.CodeNotFound, errors.New("not here"))
	case "break":
		return errors.New("a secret")
	}
	return nil
}

func (service) Subscribe(_ context.Context, req *connect.Request[fairleadv1.SubscribeRequest], stream *connect.ServerStream[fairleadv1.SubscribeResponse]) error {
	for range 3 {
		if err := stream.Send(&fairleadv1.SubscribeResponse{}); err != nil {
			return err
		}
	}
	return act(req.Msg.GetTopic())
}

func (service) Session(_ context.Context, stream *connect.BidiStream[fairleadv1.SessionRequest, fairleadv1.SessionResponse]) error {
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = stream.Send(&fairleadv1.SessionResponse{Id: m.GetId()})
		}
		if err != nil {
			return err
		}
	}
}

// served runs the service with interceptors, and returns clients of it by protocol.
func served(t *testing.T, here, there []connect.Interceptor) map[string]fairleadv1connect.TopicsClient {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(fairleadv1connect.NewTopicsHandler(service{}, connect.WithInterceptors(here...)))
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	with := connect.WithInterceptors(there...)
	return map[string]fairleadv1connect.TopicsClient{
		connect.ProtocolGRPC:    fairleadv1connect.NewTopicsClient(&http.Client{Transport: h2}, server.URL, connect.WithGRPC(), with),
		connect.ProtocolGRPCWeb: fairleadv1connect.NewTopicsClient(&http.Client{Transport: h2}, server.URL, connect.WithGRPCWeb(), with),
		connect.ProtocolConnect: fairleadv1connect.NewTopicsClient(&http.Client{Transport: h2}, server.URL, with),
	}
}

func publish(t *testing.T, c fairleadv1connect.TopicsClient, what string) error {
	t.Helper()
	_, err := c.Publish(t.Context(), connect.NewRequest(&fairleadv1.PublishRequest{Topic: what}))
	return err
}

// subscribe reads to the end.
func subscribe(t *testing.T, c fairleadv1connect.TopicsClient, what string) error {
	t.Helper()
	stream, err := c.Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: what}))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
	}
	return stream.Err()
}
