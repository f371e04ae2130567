package daemon_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/fairlead-edge/fairlead/daemon"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/websocket"
)

// overGRPC returns a client of the topics.
func overGRPC(t *testing.T, p *program) fairleadv1connect.TopicsClient {
	t.Helper()
	client, base := overH2C(p)
	t.Cleanup(client.CloseIdleConnections)
	return fairleadv1connect.NewTopicsClient(client, base, connect.WithGRPC())
}

// publisher publishes an event over a connection that stays open, and returns the code
// of the answer, "" of one that is stored.
type publisher func() string

func publishingSocket(t *testing.T, p *program, token string) publisher {
	t.Helper()
	dial := websocket.DialConfig{Config: websocket.Config{Subprotocols: []string{"fairlead.v1.json"}}, Header: http.Header{}}
	if token != "" {
		dial.Header.Set("Authorization", "Bearer "+token)
	}
	c, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(p.http, "http")+"/topics", dial)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return func() string {
		if err := c.Write(websocket.Text, []byte(`{"id":1,"publish":"a","data":"x"}`)); err != nil {
			t.Fatal(err)
		}
		var answer struct{ Error struct{ Code string } }
		if err := json.Unmarshal(readSocket(t, c), &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Error.Code
	}
}

func publishingSession(t *testing.T, p *program, token string) publisher {
	t.Helper()
	c := overGRPC(t, p).Session(t.Context())
	t.Cleanup(func() { _ = c.CloseRequest(); _ = c.CloseResponse() })
	if token != "" {
		c.RequestHeader().Set("Authorization", "Bearer "+token)
	}
	return func() string {
		if err := c.Send(&fairleadv1.SessionRequest{Id: 1, Action: &fairleadv1.SessionRequest_Publish{
			Publish: &fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{{Data: []byte("x")}}},
		}}); err != nil {
			t.Fatal(err)
		}
		m, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return m.GetError().GetCode()
	}
}

func TestAReloadOfTheTokenHoldsOnConnectionsThatAreOpen(t *testing.T) {
	for name, other := range map[string]string{
		"which keeps the sessions' settings": "", "which changes them too": "limits: {topics_per_connection: 7}\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, "drain: {window: 0s}\n")
			p := start(t, "", daemon.Options{Config: file})
			without := []publisher{publishingSocket(t, p, ""), publishingSession(t, p, "")}
			with := []publisher{publishingSocket(t, p, "hush"), publishingSession(t, p, "hush")}
			check := func(when string, all []publisher, want string) {
				t.Helper()
				for i, publish := range all {
					if code := publish(); code != want {
						t.Errorf("%s, %d of the connections gets %q, want %q", when, i, code, want)
					}
				}
			}
			check("before", without, "")
			check("before", with, "")
			reload(t, p, file, "drain: {window: 0s}\npublish_token: hush\n"+other, readAgain)
			check("with a token", without, "unauthenticated")
			check("with a token", with, "")
			reload(t, p, file, "drain: {window: 0s}\npublish_token: rush\n", readAgain)
			check("with another token", with, "unauthenticated")
			reload(t, p, file, "drain: {window: 0s}\n"+other, readAgain)
			check("without a token again", without, "")
		})
	}
}

// call is one that goes on until the server ends it.
type call struct {
	name string
	next func() (cursor string, err error) // waits for a message, and returns where the client stands after it
}

// openCalls opens one of each that reads or uploads.
func openCalls(t *testing.T, p *program, when string) []call {
	t.Helper()
	topics := overGRPC(t, p)
	reading, err := topics.Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a", After: "earliest"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reading.Close() })
	session := topics.Session(t.Context())
	t.Cleanup(func() { _ = session.CloseRequest(); _ = session.CloseResponse() })
	if err := session.Send(&fairleadv1.SessionRequest{Id: 1, Action: &fairleadv1.SessionRequest_Subscribe_{
		Subscribe: &fairleadv1.SessionRequest_Subscribe{Topic: "a", After: "earliest"},
	}}); err != nil {
		t.Fatal(err)
	}
	uploading := topics.Upload(t.Context())
	if err := uploading.Send(&fairleadv1.UploadRequest{Topic: "up", Event: &fairleadv1.Event{Data: []byte(when)}}); err != nil {
		t.Fatal(err)
	}
	upload, err := uploading.Conn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = upload.CloseRequest(); _ = upload.CloseResponse() })
	calls := []call{
		{"Subscribe " + when, func() (string, error) {
			if !reading.Receive() {
				return "", reading.Err()
			}
			return reading.Msg().GetCursor(), nil
		}},
		{"Session " + when, func() (string, error) {
			m, err := session.Receive()
			if cursor := m.GetDraining().GetCursors()["a"]; cursor != "" {
				return cursor, err
			}
			return m.GetEvent().GetCursor(), err
		}},
		{"Upload " + when, func() (string, error) { return "", upload.Receive(new(fairleadv1.UploadResponse)) }},
	}
	for _, c := range calls[:2] {
		for range 2 { // the beginning, and the event
			if _, err := c.next(); err != nil {
				t.Fatal(c.name, err)
			}
		}
	}
	eventually(t, "the upload "+when+" is stored", func() bool {
		_, page := answer(t, http.MethodGet, p.http+"/topics/up?after=earliest", "", "Accept", "application/json")
		return strings.Contains(page, `"`+when+`"`)
	})
	return calls
}

// sentAway checks that the call ends by being sent away, with where it stands and when
// to come back.
func sentAway(t *testing.T, c call, last string) {
	t.Helper()
	var told string
	var err error
	for err == nil {
		if told, err = c.next(); told != "" && told != last {
			t.Errorf("%s: the client stands at %q, and was given up to %q", c.name, told, last)
		}
	}
	cursor := comeBack(t, c.name, err)["cursor"]
	if (cursor == "") != strings.HasPrefix(c.name, "Session") { // which has them in its last message
		t.Errorf("%s: the cursor is %q", c.name, cursor)
	}
}

// comeBack checks that the error says when to come back, by RetryInfo and by the
// trailer, and returns what ErrorInfo knows.
func comeBack(t *testing.T, name string, err error) (facts map[string]string) {
	t.Helper()
	status, ok := errors.AsType[*connect.Error](err)
	if !ok || status.Code() != connect.CodeUnavailable {
		t.Fatalf("%s ends with %v", name, err)
	}
	retry := time.Duration(0)
	for _, d := range status.Details() {
		switch m, _ := d.Value(); m := m.(type) {
		case *errdetails.RetryInfo:
			retry = m.GetRetryDelay().AsDuration()
		case *errdetails.ErrorInfo:
			facts = m.GetMetadata()
		}
	}
	if pushback := status.Meta().Get("Grpc-Retry-Pushback-Ms"); retry <= 0 || pushback != strconv.FormatInt(retry.Milliseconds(), 10) {
		t.Errorf("%s: RetryInfo says %v, the trailer %q", name, retry, pushback)
	}
	return facts
}

func TestACallBeyondALimitIsToldWhenToComeBack(t *testing.T) {
	p := start(t, "limits: {connections: 1}\ndrain: {window: 0s}\ntopics: [{match: wait/**, deliver: wait, wait_timeout: 1ms, retain: {events: 1}}]\n", daemon.Options{})
	topics := overGRPC(t, p)
	stored := &fairleadv1.PublishRequest{Topic: "wait/a", Events: []*fairleadv1.Event{{Data: []byte("x")}}}
	if _, err := topics.Publish(t.Context(), connect.NewRequest(stored)); err != nil {
		t.Fatal(err)
	}
	_, err := topics.Publish(t.Context(), connect.NewRequest(stored))
	comeBack(t, "a topic that is full", err)
	_, err = overGRPC(t, p).Publish(t.Context(), connect.NewRequest(stored)) // the first connection is still there
	comeBack(t, "a second connection", err)
}

func TestADrainRightAfterAReloadEndsCallsOfBothConfigurations(t *testing.T) {
	const drain = "drain: {window: 100ms, deadline: 20s}\n"
	file := write(t, drain)
	p := start(t, "", daemon.Options{Config: file})
	_, text := answer(t, http.MethodPost, p.http+"/topics/a", "x")
	var stored struct{ Cursor string }
	if err := json.Unmarshal([]byte(text), &stored); err != nil || stored.Cursor == "" {
		t.Fatal(text, err)
	}
	before := openCalls(t, p, "before")
	reload(t, p, file, drain+"limits: {topics_per_connection: 7}\n", readAgain)
	sentAway(t, before[2], "") // it comes back, and meets what is in force
	all := slices.Concat(before[:2], openCalls(t, p, "after"))
	p.signals <- syscall.SIGTERM
	for _, c := range all {
		sentAway(t, c, stored.Cursor)
	}
	if err := p.wait(); err != nil {
		t.Error(err)
	}
	if strings.Contains(p.log.String(), "the drain's deadline passed") {
		t.Error("not all had ended by the deadline")
	}
}
