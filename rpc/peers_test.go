package rpc_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"github.com/quic-go/quic-go/http3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
)

// secured serves over TLS, HTTP/2 and HTTP/3.
func secured(t *testing.T) (s *site, server *httptest.Server) {
	t.Helper()
	s = &site{T: t, readers: deliver.New(deliver.Config{AllowPublish: true})}
	s.handler = rpc.New(rpc.Config{Readers: s.readers})
	server = httptest.NewUnstartedServer(s.handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	s.url = server.URL
	return s, server
}

func TestAClientOfGRPCGoUsesAllFourPatternsOverTLS(t *testing.T) {
	t.Parallel()
	s, server := secured(t)
	config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone() //nolint:errcheck,forcetypeassert // it is httptest's
	config.ServerName = "example.com"
	conn, err := grpc.NewClient(strings.TrimPrefix(server.URL, "https://"), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var stored fairleadv1.PublishResponse
	err = conn.Invoke(t.Context(), fairleadv1connect.TopicsPublishProcedure, &fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{event("1")}}, &stored)
	if err != nil || stored.GetCount() != 1 {
		t.Fatalf("Publish = %v, %v", &stored, err)
	}
	stream := func(procedure string) grpc.ClientStream {
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, procedure)
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	up := stream(fairleadv1connect.TopicsUploadProcedure)
	must(up.SendMsg(&fairleadv1.UploadRequest{Topic: "a", Event: event("2")}))
	must(up.SendMsg(&fairleadv1.UploadRequest{Event: event("3")}))
	must(up.CloseSend())
	var sum fairleadv1.UploadResponse
	must(up.RecvMsg(&sum))
	if sum.GetCount() != 2 || sum.GetFirst() <= stored.GetLast() {
		t.Errorf("Upload = %v", &sum)
	}
	both := stream(fairleadv1connect.TopicsSessionProcedure)
	must(both.SendMsg(subscribe(1, "a", fairlead.Cursor(sum.GetFirst()))))
	var m fairleadv1.SessionResponse
	must(both.RecvMsg(&m))
	must(both.RecvMsg(&m))
	if string(m.GetEvent().GetData()) != "3" {
		t.Errorf("got %v", &m)
	}
	must(both.SendMsg(unsubscribe(2, "a")))
	must(both.CloseSend())
	must(both.RecvMsg(&m))
	if err := both.RecvMsg(&m); !errors.Is(err, io.EOF) {
		t.Errorf("the session ends with %v", err)
	}
	s.end("a")
	reads := stream(fairleadv1connect.TopicsSubscribeProcedure)
	must(reads.SendMsg(&fairleadv1.SubscribeRequest{Topic: "a", After: stored.GetLast()}))
	must(reads.CloseSend())
	var read []string
	var next fairleadv1.SubscribeResponse
	for err = reads.RecvMsg(&next); err == nil; err = reads.RecvMsg(&next) {
		read = append(read, string(next.GetEvent().GetData()))
	}
	if !errors.Is(err, io.EOF) || strings.Join(read, ",") != ",2,3" || len(reads.Trailer().Get("fairlead-cursor")) != 1 {
		t.Errorf("read %q, then %v, %v", read, err, reads.Trailer())
	}
	var trailer metadata.MD
	err = conn.Invoke(t.Context(), fairleadv1connect.TopicsPublishProcedure, &fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{event("4")}}, &stored, grpc.Trailer(&trailer))
	known := status.Convert(err)
	info, _ := known.Details()[0].(*errdetails.ErrorInfo)
	if known.Code() != codes.FailedPrecondition || info.GetReason() != "CONFLICT" || info.GetMetadata()["topic"] != "a" {
		t.Errorf("closed: %v, %v", err, known.Details())
	}
}

func TestACallOverHTTP3IsAnswered(t *testing.T) {
	t.Parallel()
	s, server := secured(t)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h3 := &http3.Server{Handler: s.handler, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: server.TLS.Certificates})} //nolint:gosec // HTTP/3 has TLS 1.3
	var serving sync.WaitGroup
	serving.Go(func() { _ = h3.Serve(socket) })
	transport := &http3.Transport{TLSClientConfig: server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()} //nolint:errcheck,forcetypeassert // it is httptest's
	transport.TLSClientConfig.NextProtos = nil
	t.Cleanup(func() {
		_ = transport.Close()
		_ = h3.Close()
		_ = socket.Close()
		serving.Wait()
	})
	s.publish("a", "0")
	c := open(t, fairleadv1connect.NewTopicsClient(&http.Client{Transport: transport}, "https://"+socket.LocalAddr().String(), connect.WithGRPC()))
	c.say(subscribe(1, "a", fairlead.Earliest))
	c.granted(1)
	c.event("0")
	s.publish("a", "1")
	c.event("1")
	if at := s.readers.Sessions(0); len(at) != 1 || at[0].Transport != deliver.TransportGRPC {
		t.Errorf("the sessions are %+v", at)
	}
	if err := s.readers.Drain(t.Context(), 0); err != nil { // the receiver is joined while its client is silent
		t.Fatal(err)
	}
	if c.hear().GetDraining() == nil {
		t.Error("it was not told")
	}
	_, err = c.Receive()
	wantCode(t, err, connect.CodeUnavailable, "DRAINING")
}
