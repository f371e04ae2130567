package daemon_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/daemon"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
)

func TestTheMetricsCountTheMessagesOfSessionsByTheirKinds(t *testing.T) {
	p := start(t, "", daemon.Options{})
	client, base := overH2C(p)
	defer client.CloseIdleConnections()
	for name, options := range map[string][]connect.ClientOption{"grpc": {connect.WithGRPC()}, "grpcweb": {connect.WithGRPCWeb()}, "connect": nil} {
		s := fairleadv1connect.NewTopicsClient(client, base, options...).Session(t.Context())
		topic := "secret-" + name
		for _, m := range []*fairleadv1.SessionRequest{
			{Id: 1, Action: &fairleadv1.SessionRequest_Publish{Publish: &fairleadv1.PublishRequest{Topic: topic, Events: []*fairleadv1.Event{{Data: []byte("0123456789")}}}}},
			{Id: 2, Action: &fairleadv1.SessionRequest_Window_{Window: &fairleadv1.SessionRequest_Window{Events: 1}}},
			{Id: 3, Action: &fairleadv1.SessionRequest_Subscribe_{Subscribe: &fairleadv1.SessionRequest_Subscribe{Topic: topic, After: string(fairlead.Earliest)}}},
		} {
			if err := s.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		cursor := ""
		for cursor == "" {
			m, err := s.Receive()
			if err != nil {
				t.Fatal(err)
			}
			cursor = m.GetEvent().GetCursor()
		}
		for _, m := range []*fairleadv1.SessionRequest{
			{Id: 4, Action: &fairleadv1.SessionRequest_Acknowledge_{Acknowledge: &fairleadv1.SessionRequest_Acknowledge{Topic: topic, Cursor: cursor}}},
			{Id: 5, Action: &fairleadv1.SessionRequest_Ping_{Ping: &fairleadv1.SessionRequest_Ping{}}},
			{Id: 6, Action: &fairleadv1.SessionRequest_Unsubscribe_{Unsubscribe: &fairleadv1.SessionRequest_Unsubscribe{Topic: "none"}}},
		} {
			if err := s.Send(m); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Receive(); err != nil {
				t.Fatal(err)
			}
		}
		at := `transport="` + name + `"`
		wants := []string{
			`fairlead_messages_total{direction="sent",kind="answer",` + at + `} 6`,
			`fairlead_message_errors_total{code="not_found",kind="unsubscribe",` + at + `} 1`,
			`fairlead_message_size_bytes_count{direction="received",kind="publish",` + at + `} 1`,
			`fairlead_message_size_bytes_count{direction="sent",kind="event",` + at + `} 1`,
			`fairlead_message_size_bytes_sum{direction="sent",kind="event",` + at + `} 10`,
		}
		for _, kind := range []string{"publish", "window", "subscribe", "acknowledge", "ping", "unsubscribe"} {
			wants = append(wants, `fairlead_messages_total{direction="received",kind="`+kind+`",`+at+`} 1`, `fairlead_message_answer_seconds_count{kind="`+kind+`",`+at+`} 1`)
		}
		for _, want := range wants {
			eventually(t, want, func() bool {
				_, text := answer(t, http.MethodGet, p.admin+"/metrics", "")
				return strings.Contains(text, want+"\n") && !strings.Contains(text, "secret")
			})
		}
		_ = s.CloseRequest()
		_ = s.CloseResponse()
	}
}

func TestTheRecordOfACallWhoseClientLeftSaysSo(t *testing.T) {
	p := start(t, "", daemon.Options{})
	client, base := overH2C(p)
	defer client.CloseIdleConnections()
	for i, options := range [][]connect.ClientOption{{connect.WithGRPC()}, {connect.WithGRPCWeb()}, nil} {
		ctx, leave := context.WithCancel(t.Context())
		calls, err := fairleadv1connect.NewTopicsClient(client, base, options...).Subscribe(ctx, connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "demo/prices"}))
		if err != nil || !calls.Receive() {
			t.Fatal(calls, err)
		}
		leave()
		_ = calls.Close()
		eventually(t, "it is logged", func() bool { return len(records(t, p, "request", "reason", "cancelled")) == i+1 })
	}
}
