package rpc_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/rpc"
)

func TestACallOfAMethodThatIsNotHereIsUnimplementedInItsProtocol(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	for _, procedure := range []string{"/fairlead.v1.Topics/Nope", "/fairlead.v1.Topics/", "/grpc.health.v1.Health/Nope", "/grpc.reflection.v1.ServerReflection/Nope"} {
		for name, options := range protocols {
			client := connect.NewClient[emptypb.Empty, emptypb.Empty](s.client, s.url+procedure, options...)
			_, err := client.CallUnary(t.Context(), connect.NewRequest(&emptypb.Empty{}))
			wantCode(t, err, connect.CodeUnimplemented, "UNIMPLEMENTED")
			stream, err := client.CallServerStream(t.Context(), connect.NewRequest(&emptypb.Empty{}))
			if err != nil {
				t.Fatal(err)
			}
			if stream.Receive() {
				t.Errorf("%s by %s gives something", procedure, name)
			}
			wantCode(t, stream.Err(), connect.CodeUnimplemented, "UNIMPLEMENTED")
			_ = stream.Close()
		}
	}
	_, err := connect.NewClient[emptypb.Empty, emptypb.Empty](s.plain, s.url+"/fairlead.v1.Topics/Nope").CallUnary(t.Context(), connect.NewRequest(&emptypb.Empty{}))
	if wantCode(t, err, connect.CodeUnimplemented, "UNIMPLEMENTED"); !strings.Contains(err.Error(), "Publish, Upload, Subscribe, Session") {
		t.Errorf("the client is told: %v", err)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/fairlead.v1.Topics/Nope", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("a browser gets %d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	s.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/fairlead.v1.Topics/Publish", nil))
	if w.Code != http.StatusMethodNotAllowed || !strings.Contains(w.Body.String(), "POST") {
		t.Errorf("a browser gets %d %s", w.Code, w.Body)
	}
}

func TestASessionOverHTTP1IsToldWhatItNeedsInItsProtocol(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	for _, path := range []string{"/fairlead.v1.Topics/Session", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"} {
		for kind, want := range map[string]string{"application/connect+proto": `"unimplemented"`, "application/grpc-web": "", "application/json": `"unimplemented"`} {
			resp, text := s.post(t, path, "", "Content-Type: "+kind)
			text += resp.Header.Get("Grpc-Message")
			if !strings.Contains(text, "HTTP/2") || !strings.Contains(text, want) || !resp.Close || kind == "application/grpc-web" && resp.Header.Get("Grpc-Status") != "12" {
				t.Errorf("%s by %s: %s %v %q", path, kind, resp.Status, resp.Header, text)
			}
		}
		if resp, text := s.post(t, path, "", "Content-Type: text/plain"); resp.StatusCode != http.StatusHTTPVersionNotSupported || !strings.Contains(text, "HTTP/2") || !resp.Close {
			t.Errorf("%s without a protocol: %s %q", path, resp.Status, text)
		}
	}
}

func TestAClientOfGRPCWebTextIsToldWhatToSpeak(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	for _, kind := range []string{"application/grpc-web-text", "application/grpc-web-text+proto"} {
		resp, _ := s.post(t, "/fairlead.v1.Topics/Publish", "AAAAAAA=", "Content-Type: "+kind)
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Grpc-Status") != "12" || resp.Header.Get("Content-Type") != kind || !strings.Contains(resp.Header.Get("Grpc-Message"), "application/grpc-web+proto") {
			t.Errorf("%s: %s %v", kind, resp.Status, resp.Header)
		}
	}
}
