package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
)

// mute never answers.
func mute(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// A topic with one reader may still have this one's last connection.
func TestAReaderThatMeetsItsOwnLastConnectionTriesAgain(t *testing.T) {
	t.Parallel()
	for transport, first := range map[client.Transport]http.HandlerFunc{
		client.SSE:       cut("id: 1\ndata: a\n\n"),
		client.WebSocket: dropping(`{"cursor":"1","data":"a"}`),
		client.Poll:      page(`{"events":[{"cursor":"1","data":"a"}],"next":"1","closed":false}`),
		client.GRPC:      torn(event("1", "a")),
	} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				taken := status(409)
				if transport == client.GRPC {
					taken = answer(refusal(connect.CodeFailedPrecondition, reason("CONFLICT")))
				}
				s := serve(t, replies(first, taken, taken, ended(transport)))
				tries := 0
				items, err := collect(t.Context(), url, client.Config{
					Transport: transport, HTTP: s.Client, After: "0", OnRetry: func(error, time.Duration) { tries++ },
				})
				if len(items) == 0 || items[0] != "a@1" || err != nil || tries < 2 {
					t.Errorf("%q, %v after %d tries", items, err, tries)
				}
			})
		})
	}
}

func TestAServerThatFallsSilentIsLeftAndNeverCountsAsStable(t *testing.T) {
	t.Parallel()
	silent := func(w http.ResponseWriter, r *http.Request) {
		stream("id: 1\ndata: a\n\n")(w, r)
		<-r.Context().Done()
	}
	for name, c := range map[string]struct {
		transport client.Transport
		h         http.HandlerFunc
	}{
		"after an event": {client.SSE, silent}, "before the header": {client.SSE, mute},
		"a call, after an event": {client.GRPC, holding(event("1", "a"))}, "a call, before the header": {client.GRPC, mute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, gets(replies(c.h, c.h, c.h, ended(c.transport))))
				var d delays
				var why []error
				began := time.Now()
				_, err := collect(t.Context(), url, client.Config{Transport: c.transport, HTTP: s.Client, After: "1", OnRetry: func(err error, delay time.Duration) {
					why = append(why, err)
					d.note(err, delay)
				}})
				if err != nil || time.Since(began) != 3*45*time.Second+d[0]+d[1]+d[2] {
					t.Errorf("%v after %v", err, time.Since(began))
				}
				d.within(t, [2]time.Duration{time.Second / 4, time.Second / 2}, [2]time.Duration{time.Second / 2, time.Second}, [2]time.Duration{time.Second, 2 * time.Second})
				for _, err := range why {
					if !strings.Contains(err.Error(), "fell silent for 45s") {
						t.Error(err)
					}
				}
			})
		})
	}
}

func TestASlowConsumerIsNotASilentServer(t *testing.T) {
	t.Parallel()
	for transport, h := range map[client.Transport]http.HandlerFunc{
		client.SSE: func(w http.ResponseWriter, r *http.Request) {
			stream("id: 1\ndata: a\n\n")(w, r)
			time.Sleep(time.Minute)
			stream("id: 2\ndata: b\n\nevent: fairlead.end\ndata: {}\n\n")(w, r)
		},
		client.WebSocket: func(w http.ResponseWriter, r *http.Request) {
			c := accept(w, r)
			say(c, `{"cursor":"1","data":"a"}`)
			time.Sleep(time.Minute)
			say(c, `{"cursor":"2","data":"b"}`, `{"end":{}}`)
			_ = c.CloseNow()
		},
		client.GRPC: calls{serve: func(_ context.Context, _ *fairleadv1.SubscribeRequest, send func(...*fairleadv1.SubscribeResponse)) error {
			send(event("1", "a"))
			time.Sleep(time.Minute)
			send(event("2", "b"))
			return nil
		}}.handler(),
	} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, h)
				var items []string
				for item, err := range client.Subscribe(t.Context(), url, client.Config{
					Transport: transport, HTTP: s.Client, After: "0", OnRetry: func(err error, _ time.Duration) { t.Error(err) },
				}) {
					if err != nil {
						t.Fatal(err)
					}
					items = append(items, show(&item))
					time.Sleep(time.Minute)
				}
				if want := []string{"a@1", "b@2", "end@2"}; !slices.Equal(items, want) {
					t.Errorf("%q, want %q", items, want)
				}
			})
		})
	}
}

func TestAnyByteIsASignOfLife(t *testing.T) {
	t.Parallel()
	for transport, h := range map[client.Transport]http.HandlerFunc{
		client.SSE: func(w http.ResponseWriter, r *http.Request) {
			for range 10 {
				stream(":\n")(w, r)
				time.Sleep(40 * time.Second)
			}
			stream("event: fairlead.end\ndata: {}\n\n")(w, r)
		},
		client.WebSocket: func(w http.ResponseWriter, r *http.Request) {
			c := accept(w, r)
			go func() { _, _, _ = c.Read() }() // the pongs
			for range 10 {
				_ = c.Ping(nil)
				time.Sleep(40 * time.Second)
			}
			say(c, `{"end":{}}`)
			_ = c.CloseNow()
		},
		client.Poll: func() http.HandlerFunc {
			empty := func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(30 * time.Second)
				page(`{"events":[],"next":"0","closed":false}`)(w, r)
			}
			return replies(empty, empty, empty, empty, page(`{"events":[],"next":"0","closed":true}`))
		}(),
		client.GRPC: calls{serve: func(_ context.Context, _ *fairleadv1.SubscribeRequest, send func(...*fairleadv1.SubscribeResponse)) error {
			for range 10 {
				send(at("0"))
				time.Sleep(40 * time.Second)
			}
			return nil
		}}.handler(),
	} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, h)
				items, err := collect(t.Context(), url, client.Config{
					Transport: transport, HTTP: s.Client, After: "0", OnRetry: func(err error, _ time.Duration) { t.Error(err) },
				})
				if want := []string{"end@0"}; !slices.Equal(items, want) || err != nil {
					t.Errorf("%q, %v, want %q", items, err, want)
				}
			})
		})
	}
}

func TestWhatTryingAgainWouldNotMendIsAnError(t *testing.T) {
	t.Parallel()
	problem := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(code)
			fmt.Fprint(w, text)
		}
	}
	for name, c := range map[string]struct {
		transport client.Transport
		h         http.HandlerFunc
		want      fairlead.Code
	}{
		"no topic":                    {client.SSE, status(404), fairlead.NotFound},
		"no topic, polling":           {client.Poll, status(404), fairlead.NotFound},
		"no topic, WebSocket":         {client.WebSocket, status(404), fairlead.NotFound},
		"a gap that was to fail":      {client.SSE, problem(410, `{"code":"out_of_range","detail":"gone"}`), fairlead.OutOfRange},
		"a status that is nobody's":   {client.SSE, status(418), fairlead.InvalidArgument},
		"a code of another status":    {client.SSE, problem(403, `{"code":"draining","detail":"x"}`), fairlead.PermissionDenied},
		"a second reader":             {client.Poll, problem(409, `{"code":"conflict","detail":"x"}`), fairlead.Conflict},
		"a second reader, streaming":  {client.SSE, problem(409, `{"code":"conflict","detail":"x"}`), fairlead.Conflict},
		"no stream":                   {client.SSE, page(`{}`), fairlead.NotAcceptable},
		"no page":                     {client.Poll, stream(""), fairlead.NotAcceptable},
		"a page without next":         {client.Poll, page(`{}`), fairlead.NotAcceptable},
		"a page that is not JSON":     {client.Poll, page(`<html>`), fairlead.NotAcceptable},
		"no WebSocket":                {client.WebSocket, page(`{}`), fairlead.NotAcceptable},
		"an event that is too large":  {client.SSE, stream("data: " + strings.Repeat("x", 1<<10) + "\n\n"), fairlead.TooLarge},
		"an id that cannot be sent":   {client.SSE, stream("id: \x01\ndata: x\n\n"), fairlead.InvalidArgument},
		"a transport there is not":    {"pigeon", status(200), fairlead.InvalidArgument},
		"a message that is too large": {client.WebSocket, sending(strings.Repeat(" ", 1<<10+1)), fairlead.TooLarge},
		"a message that is none":      {client.WebSocket, sending("hello"), fairlead.NotAcceptable},
		"a call's event too large":    {client.GRPC, answer(nil, event("1", strings.Repeat("x", 1<<10))), fairlead.TooLarge},
		"a call's message of nothing": {client.GRPC, framed("\x00\x00\x00\x00\x02\xff\xff"), fairlead.NotAcceptable},
		"INVALID_ARGUMENT":            {client.GRPC, answer(refusal(connect.CodeInvalidArgument)), fairlead.InvalidArgument},
		"NOT_FOUND":                   {client.GRPC, answer(refusal(connect.CodeNotFound)), fairlead.NotFound},
		"PERMISSION_DENIED":           {client.GRPC, answer(refusal(connect.CodePermissionDenied)), fairlead.PermissionDenied},
		"UNAUTHENTICATED":             {client.GRPC, answer(refusal(connect.CodeUnauthenticated)), fairlead.Unauthenticated},
		"OUT_OF_RANGE":                {client.GRPC, answer(refusal(connect.CodeOutOfRange)), fairlead.OutOfRange},
		"FAILED_PRECONDITION":         {client.GRPC, answer(refusal(connect.CodeFailedPrecondition)), fairlead.Conflict},
		"NOT_FOUND, another host":     {client.GRPC, answer(refusal(connect.CodeNotFound, reason("MISDIRECTED_REQUEST"))), fairlead.MisdirectedRequest},
		"a reason of another status":  {client.GRPC, answer(refusal(connect.CodeNotFound, reason("DRAINING"))), fairlead.NotFound},
		"too large, of too large":     {client.GRPC, answer(refusal(connect.CodeResourceExhausted, reason("TOO_LARGE"))), fairlead.TooLarge},
		"a call's status 403":         {client.GRPC, status(403), fairlead.PermissionDenied},
		"close 4410":                  {client.WebSocket, closing(4410), fairlead.OutOfRange},
		"close 4404":                  {client.WebSocket, closing(4404), fairlead.NotFound},
		"close 4500":                  {client.WebSocket, closing(4500), fairlead.Fault},
		"close 1008":                  {client.WebSocket, closing(1008), fairlead.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, c.h)
				_, err := collect(t.Context(), url, client.Config{Transport: c.transport, HTTP: s.Client, After: "c", MaxEvent: 1 << 10})
				if code := codeOf(t, err); code != c.want {
					t.Errorf("%v, want %s", err, c.want)
				}
			})
		})
	}
}

func TestAURLThatNobodyCanConnectToIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "topics/a", "localhost:8080/topics/a", "ftp://host/", "http://", "http://[", "unix:/path"} {
		if _, err := collect(t.Context(), bad, client.Config{}); codeOf(t, err) != fairlead.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := client.Publish(t.Context(), bad, fairlead.Event{}, client.Config{}); codeOf(t, err) != fairlead.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := collect(t.Context(), url, client.Config{Token: "a\nb"}); codeOf(t, err) != fairlead.InvalidArgument {
		t.Error(err)
	}
}

func TestWhenTheContextEndsTheErrorIsItsCause(t *testing.T) {
	t.Parallel()
	why := errors.New("enough")
	hang := func(w http.ResponseWriter, r *http.Request) {
		stream(":\n")(w, r)
		<-r.Context().Done()
	}
	for _, transport := range transports {
		h := map[client.Transport]http.HandlerFunc{client.SSE: hang, client.WebSocket: sending(), client.Poll: mute, client.GRPC: holding(at("c"))}[transport]
		for name, h := range map[string]http.HandlerFunc{"while it reads": h, "between connections": status(500)} {
			t.Run(string(transport)+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := serve(t, h)
					ctx, cancel := contextUntil(t, 700*time.Millisecond, why)
					defer cancel()
					began := time.Now()
					if _, err := collect(ctx, url, client.Config{Transport: transport, HTTP: s.Client, After: "c", MinBackoff: time.Minute}); err != why {
						t.Error(err)
					}
					if waited := time.Since(began); waited != 700*time.Millisecond {
						t.Errorf("after %v", waited)
					}
				})
			})
		}
	}
}

func TestBreakingOffTheLoopClosesTheConnection(t *testing.T) {
	t.Parallel()
	for transport, h := range map[client.Transport]func(gone chan struct{}) http.HandlerFunc{
		client.SSE: func(gone chan struct{}) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				stream("data: a\n\ndata: b\n\n")(w, r)
				<-r.Context().Done()
				close(gone)
			}
		},
		client.WebSocket: func(gone chan struct{}) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				c := accept(w, r)
				say(c, `{"cursor":"1","data":"a"}`)
				_, _, _ = c.Read()
				_ = c.CloseNow()
				close(gone)
			}
		},
		client.GRPC: func(gone chan struct{}) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				holding(event("1", "a"), event("2", "b"))(w, r)
				close(gone)
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			gone := make(chan struct{})
			s := serve(t, gets(h(gone)))
			for _, err := range client.Subscribe(t.Context(), url, client.Config{Transport: transport, HTTP: s.Client, After: "0"}) {
				if err != nil {
					t.Error(err)
				}
				break
			}
			<-gone
		})
	}
}
