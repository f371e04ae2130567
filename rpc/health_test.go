package rpc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
)

// dial opens a channel of grpc-go to the server.
func (s *site) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(s.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// post makes a call as curl would.
func (s *site) post(t *testing.T, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := s.plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func TestHealthAnswersForOurNameAndTheServer(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	health := grpc_health_v1.NewHealthClient(s.dial(t))
	check := func(service string, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		got, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || got.GetStatus() != want {
			t.Errorf("the health of %q is %v, %v; want %v", service, got, err, want)
		}
	}
	check("", grpc_health_v1.HealthCheckResponse_SERVING)
	check(fairleadv1connect.TopicsName, grpc_health_v1.HealthCheckResponse_SERVING)
	if _, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "other.v1.Service"}); status.Code(err) != codes.NotFound {
		t.Errorf("the health of another service: %v", err)
	}
	list, err := health.List(t.Context(), &grpc_health_v1.HealthListRequest{})
	if statuses := list.GetStatuses(); err != nil || len(statuses) != 2 || statuses[fairleadv1connect.TopicsName].GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("List = %v, %v", list, err)
	}
	if resp, text := s.post(t, "/grpc.health.v1.Health/Check", `{"service":"fairlead.v1.Topics"}`); resp.StatusCode != http.StatusOK || !strings.Contains(text, `"SERVING"`) {
		t.Errorf("as JSON: %s %s", resp.Status, text)
	}
	s.handler.SetServing(false)
	s.handler.SetServing(false)
	check("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	check(fairleadv1connect.TopicsName, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	s.handler.SetServing(true)
	check("", grpc_health_v1.HealthCheckResponse_SERVING)
}

func TestAWatcherOfTheHealthIsToldAndLeaves(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{Heartbeat: 10 * time.Millisecond})
	health := grpc_health_v1.NewHealthClient(s.dial(t))
	watch := func(service string) func() (grpc_health_v1.HealthCheckResponse_ServingStatus, error) {
		stream, err := health.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		return func() (grpc_health_v1.HealthCheckResponse_ServingStatus, error) {
			m, err := stream.Recv()
			return m.GetStatus(), err
		}
	}
	ours, other := watch(fairleadv1connect.TopicsName), watch("other.v1.Service")
	for range 3 { // it beats
		if got, err := ours(); got != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("got %v, %v", got, err)
		}
		if got, err := other(); got != grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN {
			t.Errorf("got %v, %v", got, err)
		}
	}
	s.handler.SetServing(false)
	last := grpc_health_v1.HealthCheckResponse_UNKNOWN
	for {
		got, err := ours()
		if err != nil {
			if status.Code(err) != codes.Unavailable || last != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
				t.Errorf("the last was %v, then %v", last, err)
			}
			break
		}
		last = got
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stream, err := health.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}

// reflects asks the reflection of either version.
func reflects(t *testing.T, conn *grpc.ClientConn, old bool, m *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
	t.Helper()
	method := reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName
	if old {
		method = reflectionv1alpha.ServerReflection_ServerReflectionInfo_FullMethodName
	}
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		t.Fatal(err)
	}
	answer := new(reflectionv1.ServerReflectionResponse) // the versions have the same form
	if err := stream.SendMsg(m); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(answer); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(reflectionv1.ServerReflectionResponse)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	return answer
}

func ofSymbol(name string) *reflectionv1.ServerReflectionRequest {
	return &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}}
}

func TestReflectionKnowsOurOwnFilesOnly(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	conn := s.dial(t)
	for _, old := range []bool{false, true} {
		list := reflects(t, conn, old, &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
		if all := list.GetListServicesResponse().GetService(); len(all) != 1 || all[0].GetName() != fairleadv1connect.TopicsName {
			t.Errorf("it lists %v", all)
		}
		files := reflects(t, conn, old, ofSymbol("fairlead.v1.Topics.Session")).GetFileDescriptorResponse().GetFileDescriptorProto()
		names := make([]string, 0, len(files))
		for _, raw := range files {
			var file descriptorpb.FileDescriptorProto
			if err := proto.Unmarshal(raw, &file); err != nil {
				t.Fatal(err)
			}
			names = append(names, file.GetName())
		}
		if len(names) != 3 || names[0] != "fairlead/v1/topics.proto" {
			t.Errorf("the files are %q", names)
		}
		for _, name := range []string{"google.rpc.ErrorInfo", "grpc.health.v1.Health"} {
			if reflects(t, conn, old, ofSymbol(name)).GetFileDescriptorResponse() == nil {
				t.Errorf("%s is not known", name)
			}
		}
		for _, name := range []string{"grpc.reflection.v1.ServerReflection", "google.protobuf.Struct", "other.v1.Service"} {
			if reflects(t, conn, old, ofSymbol(name)).GetErrorResponse() == nil {
				t.Errorf("%s is known, which is not ours", name)
			}
		}
	}
}

func TestAReaderOfTheSchemaLeavesWithTheServer(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	client := reflectionv1.NewServerReflectionClient(s.dial(t))
	stream, err := client.ServerReflectionInfo(t.Context())
	if err == nil {
		err = stream.Send(ofSymbol("fairlead.v1.Topics"))
	}
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.handler.SetServing(false)
	if _, err = stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("it leaves with %v", err)
	}
	if stream, err = client.ServerReflectionInfo(t.Context()); err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("another leaves with %v", err)
	}
}
