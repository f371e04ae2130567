package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/topic"
)

// calls serves Subscribe.
type calls struct {
	fairleadv1connect.UnimplementedTopicsHandler

	serve func(ctx context.Context, asked *fairleadv1.SubscribeRequest, send func(...*fairleadv1.SubscribeResponse)) error
}

func (c calls) Subscribe(ctx context.Context, req *connect.Request[fairleadv1.SubscribeRequest], to *connect.ServerStream[fairleadv1.SubscribeResponse]) error {
	return c.serve(ctx, req.Msg, func(all ...*fairleadv1.SubscribeResponse) {
		for _, m := range all {
			_ = to.Send(m)
		}
	})
}

func (c calls) handler() http.HandlerFunc {
	_, h := fairleadv1connect.NewTopicsHandler(c)
	return h.ServeHTTP
}

// answer sends messages and ends the call with err.
func answer(err error, messages ...*fairleadv1.SubscribeResponse) http.HandlerFunc {
	return calls{serve: func(_ context.Context, _ *fairleadv1.SubscribeRequest, send func(...*fairleadv1.SubscribeResponse)) error {
		send(messages...)
		return err
	}}.handler()
}

// holding sends messages and then waits for the client to leave.
func holding(messages ...*fairleadv1.SubscribeResponse) http.HandlerFunc {
	return calls{serve: func(ctx context.Context, _ *fairleadv1.SubscribeRequest, send func(...*fairleadv1.SubscribeResponse)) error {
		send(messages...)
		<-ctx.Done()
		return ctx.Err()
	}}.handler()
}

// torn sends messages and breaks the stream.
func torn(messages ...*fairleadv1.SubscribeResponse) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		calls{serve: func(_ context.Context, _ *fairleadv1.SubscribeRequest, send func(...*fairleadv1.SubscribeResponse)) error {
			send(messages...)
			panic(http.ErrAbortHandler)
		}}.handler()(w, r)
	}
}

// framed answers with the bytes of a body.
func framed(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc+proto")
		_, _ = io.WriteString(w, body)
	}
}

func at(cursor string) *fairleadv1.SubscribeResponse {
	return &fairleadv1.SubscribeResponse{Cursor: cursor}
}

func event(cursor, data string) *fairleadv1.SubscribeResponse {
	return &fairleadv1.SubscribeResponse{Cursor: cursor, Item: &fairleadv1.SubscribeResponse_Event{Event: &fairleadv1.Event{Cursor: cursor, Data: []byte(data)}}}
}

func gap(cursor string, skipped *uint64) *fairleadv1.SubscribeResponse {
	return &fairleadv1.SubscribeResponse{Cursor: cursor, Item: &fairleadv1.SubscribeResponse_Gap{Gap: &fairleadv1.Gap{After: "0", Earliest: "5", Skipped: skipped}}}
}

// refusal is a status with details.
func refusal(code connect.Code, details ...proto.Message) *connect.Error {
	e := connect.NewError(code, errors.New("why"))
	for _, d := range details {
		detail, err := connect.NewErrorDetail(d)
		if err != nil {
			panic(err)
		}
		e.AddDetail(detail)
	}
	return e
}

func reason(why string, pairs ...string) *errdetails.ErrorInfo {
	info := &errdetails.ErrorInfo{Reason: why, Domain: "fairlead", Metadata: make(map[string]string)}
	for i := 0; i < len(pairs); i += 2 {
		info.Metadata[pairs[i]] = pairs[i+1]
	}
	return info
}

func retryIn(d time.Duration) *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
}

func pushback(ms string) *connect.Error {
	e := refusal(connect.CodeUnavailable)
	e.Meta().Set("Grpc-Retry-Pushback-Ms", ms)
	return e
}

// called records what the calls asked for.
type called struct {
	mu  sync.Mutex
	all []*fairleadv1.SubscribeRequest
}

func (c *called) by(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		asked := new(fairleadv1.SubscribeRequest)
		if err != nil || len(body) < 5 || proto.Unmarshal(body[5:], asked) != nil { // after a flag and the length
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		c.all = append(c.all, asked)
		c.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		h(w, r)
	}
}

func (c *called) after() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, asked := range c.all {
		all = append(all, asked.GetAfter())
	}
	return all
}

func TestACallGoesOnAfterTheLastEvent(t *testing.T) {
	t.Parallel()
	four := uint64(4)
	for name, c := range map[string]struct {
		all       []http.HandlerFunc
		want, ask []string
	}{
		"a drop": {
			[]http.HandlerFunc{torn(at("0"), event("1", "a"), event("2", "b")), torn(), torn(at("2")), answer(nil, at("2"), event("3", "c"))},
			[]string{"a@1", "b@2", "c@3", "end@3"}, []string{"0", "2", "2", "2"},
		},
		"messages with a cursor alone": {
			[]http.HandlerFunc{torn(at("1")), torn(at("1"), at("4")), torn(event("6", "f"), at("9")), answer(nil)},
			[]string{"f@6", "end@9"}, []string{"0", "1", "4", "9"},
		},
		"a stream that ends without a status": {
			[]http.HandlerFunc{framed(""), answer(nil)},
			[]string{"end@0"}, []string{"0", "0"},
		},
		"too slow, which says where": {
			[]http.HandlerFunc{answer(refusal(connect.CodeResourceExhausted, reason("TOO_SLOW", "cursor", "7")), event("1", "a")), answer(nil)},
			[]string{"a@1", "end@7"}, []string{"0", "7"},
		},
		"too slow, and nothing more": {
			[]http.HandlerFunc{answer(refusal(connect.CodeResourceExhausted), event("1", "a")), answer(nil)},
			[]string{"a@1", "end@1"}, []string{"0", "1"},
		},
		"draining": {
			[]http.HandlerFunc{answer(refusal(connect.CodeUnavailable, reason("DRAINING", "cursor", "1"), retryIn(time.Second)), event("1", "a")), answer(nil)},
			[]string{"a@1", "end@1"}, []string{"0", "1"},
		},
		"a bug, and somebody who stops the call": {
			[]http.HandlerFunc{answer(errors.New("no status")), answer(refusal(connect.CodeCanceled, reason("CANCELLED"))), answer(refusal(connect.CodeAborted)), answer(nil)},
			[]string{"end@0"}, []string{"0", "0", "0", "0"},
		},
		"a gap": {
			[]http.HandlerFunc{torn(gap("0", &four)), answer(nil, gap("0", &four), event("5", "e"))},
			[]string{"gap(0..5 4)@0", "gap(0..5 4)@0", "e@5", "end@5"}, []string{"0", "0"},
		},
		"a gap of unknown size": {
			[]http.HandlerFunc{answer(nil, gap("4", nil))},
			[]string{"gap(0..5 -1)@4", "end@4"}, []string{"0"},
		},
		"a fault": {
			[]http.HandlerFunc{answer(refusal(connect.CodeDataLoss, reason("FAULT", "cursor", "3")), event("1", "a"))},
			[]string{"a@1", "fault(fault: why)@3"}, []string{"0"},
		},
		"a fault with the source's own reason": {
			[]http.HandlerFunc{answer(refusal(connect.CodeDataLoss, reason("UNAVAILABLE")))},
			[]string{"fault(unavailable: why)@0"}, []string{"0"},
		},
		"a fault, and no details": {
			[]http.HandlerFunc{answer(refusal(connect.CodeDataLoss))},
			[]string{"fault(fault: why)@0"}, []string{"0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var a called
				s := serve(t, a.by(replies(c.all...)))
				items, err := collect(t.Context(), url, client.Config{Transport: client.GRPC, HTTP: s.Client, After: "0"})
				if !slices.Equal(items, c.want) || err != nil {
					t.Errorf("%q, %v, want %q", items, err, c.want)
				}
				if got := a.after(); !slices.Equal(got, c.ask) {
					t.Errorf("asked after %q, want %q", got, c.ask)
				}
			})
		})
	}
}

func TestACallBeginsWhereItsURLOrItsConfigSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at    string
		after fairlead.Cursor
		want  *fairleadv1.SubscribeRequest
	}{
		"nothing said":       {url, "", &fairleadv1.SubscribeRequest{Topic: "a"}},
		"a word":             {url, fairlead.Snapshot, &fairleadv1.SubscribeRequest{Topic: "a", After: "snapshot"}},
		"in the URL":         {url + "?after=c&gap=fail", "", &fairleadv1.SubscribeRequest{Topic: "a", After: "c", FailOnGap: true}},
		"by the other name":  {url + "?last_event_id=c&gap=tell", "", &fairleadv1.SubscribeRequest{Topic: "a", After: "c"}},
		"in both":            {url + "?after=c", "d", &fairleadv1.SubscribeRequest{Topic: "a", After: "d"}},
		"segments, escaped":  {"ws://topic.test/topics/a/b%20%C3%A4", "", &fairleadv1.SubscribeRequest{Topic: "a/b ä"}},
		"what is for others": {url + "?format=envelope&heartbeat=event", "", &fairleadv1.SubscribeRequest{Topic: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var a called
				var path, token, more string
				s := serve(t, func(w http.ResponseWriter, r *http.Request) {
					path, token, more = r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("X-More")
					a.by(answer(nil, at("5")))(w, r)
				})
				items, err := collect(t.Context(), c.at, client.Config{
					Transport: client.GRPC, HTTP: s.Client, After: c.after, Token: "secret", Header: http.Header{"X-More": {"more"}},
				})
				if want := []string{"end@5"}; !slices.Equal(items, want) || err != nil {
					t.Fatalf("%q, %v, want %q", items, err, want)
				}
				if !proto.Equal(a.all[0], c.want) {
					t.Errorf("asked for %v, want %v", a.all[0], c.want)
				}
				if path != "/fairlead.v1.Topics/Subscribe" || token != "Bearer secret" || more != "more" {
					t.Errorf("%q with %q and %q", path, token, more)
				}
			})
		})
	}
}

func TestAnEventComesWholeOverGRPC(t *testing.T) {
	t.Parallel()
	root, cfg, _, store := topics(t, plain, topic.Policy{})
	l, err := store.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	want := fairlead.Event{
		Type: "tick", Key: "k", ContentType: "application/x", Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Critical: true,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Attributes: map[string]string{"source": "s"}, Data: []byte("\xff\x00"),
	}
	res, err := l.Append(t.Context(), topic.Batch{Events: []fairlead.Event{want}})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	want.Topic, want.Cursor = "a", res.Last
	cfg.Transport, cfg.After = client.GRPC, fairlead.Earliest
	for item, err := range client.Subscribe(t.Context(), root, cfg) {
		if err != nil {
			t.Fatal(err)
		}
		if item.Kind == client.KindEvent && !reflect.DeepEqual(item.Event, want) {
			t.Errorf("%+v, want %+v", item.Event, want)
		}
	}
}

func TestAGapThatWasToFailIsAnErrorOverGRPC(t *testing.T) {
	t.Parallel()
	root, cfg, _, _ := topics(t, plain, topic.Policy{Events: 2})
	cfg.After = publish(t, root, cfg, "a", "b", "c", "d")[0]
	cfg.Transport = client.GRPC
	if _, err := collect(t.Context(), root+"?gap=fail", cfg); codeOf(t, err) != fairlead.OutOfRange {
		t.Error(err)
	}
}

func TestAServerThatIsNotThereYetIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, answer(nil, event("1", "a")))
		through := s.Client.Transport.(*http.Transport)
		dial, tries := through.DialContext, 0
		through.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if tries++; tries < 4 {
				return nil, errors.New("connection refused")
			}
			return dial(ctx, network, address)
		}
		var d delays
		items, err := collect(t.Context(), url, client.Config{Transport: client.GRPC, HTTP: s.Client, After: "0", OnRetry: d.note})
		if want := []string{"a@1", "end@1"}; !slices.Equal(items, want) || err != nil || len(d) != 3 {
			t.Errorf("%q, %v after %v", items, err, d)
		}
	})
}

func TestACallGoesOverTLSToo(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(answer(nil, event("1", "a")))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	items, err := collect(t.Context(), s.URL+"/topics/a", client.Config{Transport: client.GRPC, HTTP: s.Client(), After: "0"})
	if want := []string{"a@1", "end@1"}; !slices.Equal(items, want) || err != nil {
		t.Errorf("%q, %v", items, err)
	}
}

func TestAURLThatIsNoTopicsIsAnErrorOverGRPC(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "/", "/topics", "/topics/", "/live/a", "/.well-known/fairlead/streams/a", "/topics/a//b", "/topics/$a", "/topics/%ff"} {
		if _, err := collect(t.Context(), "http://topic.test"+path, client.Config{Transport: client.GRPC}); codeOf(t, err) != fairlead.InvalidArgument {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestAServerWithoutHTTP2IsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	plain, secure := httptest.NewServer(http.NotFoundHandler()), httptest.NewTLSServer(http.NotFoundHandler())
	defer plain.Close()
	defer secure.Close()
	for _, s := range []*httptest.Server{plain, secure} {
		_, err := collect(t.Context(), s.URL+"/topics/a", client.Config{Transport: client.GRPC, HTTP: s.Client()})
		if codeOf(t, err) != fairlead.NotAcceptable || !strings.Contains(err.Error(), "over gRPC; use another transport") {
			t.Errorf("%s: %v", s.URL, err)
		}
	}
}

func TestAServerWithoutGRPCIsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"no such path": status(404), "GET only": status(405), "another type": status(415), "none of that": status(501), "a page": page(`{}`),
		"no such service": answer(connect.NewError(connect.CodeUnimplemented, errors.New("unknown service"))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, h)
				_, err := collect(t.Context(), url, client.Config{Transport: client.GRPC, HTTP: s.Client})
				if codeOf(t, err) != fairlead.NotAcceptable || !strings.Contains(err.Error(), "over gRPC; use another transport") {
					t.Error(err)
				}
			})
		})
	}
}
