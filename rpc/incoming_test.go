package rpc_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"

	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/rpc"
)

func TestWhoMayNotPublishIsToldBeforeAMessageHasCome(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{PublishToken: "secret"}, rpc.Config{})
	for _, path := range []string{fairleadv1connect.TopicsPublishProcedure, fairleadv1connect.TopicsUploadProcedure} {
		body, w := io.Pipe() // of which nothing comes
		defer w.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		res, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if got := res.Header.Get("Grpc-Status") + res.Trailer.Get("Grpc-Status"); got != "16" {
			t.Errorf("%s: %v, %v", path, res.Header, res.Trailer)
		}
		_ = res.Body.Close()
	}
}

func TestAMessageThatStallsEndsItsCallAndOneThatHasNotBegunDoesNot(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{WriteTimeout: 100 * time.Millisecond})
	client := fairleadv1connect.NewTopicsClient(s.client, s.url, connect.WithGRPC())
	patient := client.Upload(t.Context())
	send := func() {
		t.Helper()
		if err := patient.Send(&fairleadv1.UploadRequest{Topic: "a", Event: &fairleadv1.Event{Data: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
	}
	send()
	for _, path := range []string{fairleadv1connect.TopicsUploadProcedure, fairleadv1connect.TopicsSessionProcedure} {
		body, w := io.Pipe()
		defer w.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		go func() { _, _ = io.WriteString(w, "\x00\x00\x00\x10\x00begun") }()
		res, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if status, why := res.Trailer.Get("Grpc-Status"), res.Trailer.Get("Grpc-Message"); status != "4" || !strings.Contains(why, "stopped coming, with nothing of it for") {
			t.Errorf("%s: %v, %v", path, res.Header, res.Trailer)
		}
		_ = res.Body.Close()
	}
	send() // twice as late as those two
	sum, err := patient.CloseAndReceive()
	if err != nil || sum.Msg.GetCount() != 2 {
		t.Errorf("%v, %v", sum, err)
	}
}

func TestAnUploadWhoseMessageStallsIsToldWhatWasStored(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{WriteTimeout: 100 * time.Millisecond})
	body, w := io.Pipe()
	defer w.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+fairleadv1connect.TopicsUploadProcedure, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/connect+json")
	whole := `{"topic":"a","event":{"data":"eA=="}}`
	go func() {
		_, _ = io.WriteString(w, "\x00\x00\x00\x00"+string(rune(len(whole)))+whole+"\x00\x00\x00\x10\x00begun")
	}()
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(text), `"stored":"1"`) || !strings.Contains(string(text), `"cursor"`) || !strings.Contains(string(text), "REQUEST_TIMEOUT") {
		t.Errorf("%s, %v", text, err)
	}
}
