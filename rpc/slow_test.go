package rpc_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/internal/memnet"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
	"github.com/fairlead-edge/fairlead/topic"
)

// bubble is a server in a bubble of simulated time.
type bubble struct {
	readers *deliver.Handler
	handler *rpc.Handler
	net     *memnet.Server
	ended   chan deliver.Ended
}

// inBubble serves over HTTP/2 without TLS, or over HTTP/1.1.
func inBubble(t *testing.T, h2 bool, d deliver.Config, c rpc.Config) *bubble {
	t.Helper()
	b := &bubble{ended: make(chan deliver.Ended, 10)}
	d.AllowPublish = true
	d.Observer.Closed = func(e deliver.Ended) { b.ended <- e }
	b.readers = deliver.New(d)
	c.Readers = b.readers
	b.handler = rpc.New(c)
	var spoken, speaks http.Protocols
	spoken.SetHTTP1(true)
	spoken.SetUnencryptedHTTP2(true)
	speaks.SetHTTP1(!h2)
	speaks.SetUnencryptedHTTP2(h2)
	// The client's windows are small, so that it takes little unasked.
	transport := &http.Transport{Protocols: &speaks, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 64 << 10}}
	b.net = memnet.Serve(t, &http.Server{Handler: b.handler, Protocols: &spoken}, transport)
	return b
}

func (b *bubble) topics(options ...connect.ClientOption) fairleadv1connect.TopicsClient {
	return fairleadv1connect.NewTopicsClient(b.net.Client, "http://a", options...)
}

// publish publishes events of so many bytes, which do not get smaller.
func (b *bubble) publish(t *testing.T, name string, events, size int) {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	for range events {
		if _, err := b.readers.Publish(t.Context(), http.Header{}, name, topic.Batch{Events: []fairlead.Event{{Data: data}}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAReaderThatTakesNothingIsAPlaceInTheTopicUntilItIsReset(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		h2      bool
		options []connect.ClientOption
	}{
		"grpc": {true, protocols["grpc"]}, "connect over HTTP/1.1": {false, nil}, "grpcweb over HTTP/1.1": {false, protocols["grpcweb"]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := inBubble(t, c.h2, deliver.Config{}, rpc.Config{WriteTimeout: 20 * time.Second})
				b.publish(t, "a", 500, 10_000)
				stream, err := b.topics(c.options...).Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a", After: "earliest"}))
				if err != nil {
					t.Fatal(err)
				}
				defer stream.Close()
				stream.Receive()
				began := time.Now()
				synctest.Wait()
				at := b.readers.Sessions(0)
				if len(at) != 1 || at[0].Lag < 400 || at[0].Buffered == 0 {
					t.Fatalf("the sessions are %+v", at)
				}
				e := <-b.ended
				if e.Reason != fairlead.TooSlow || time.Since(began) != 20*time.Second || e.Bytes > 1<<20 {
					t.Errorf("it ended as %+v after %v", e, time.Since(began))
				}
			})
		})
	}
}

func TestASessionThatTakesNothingIsResetByItsTimeoutOrADrain(t *testing.T) {
	t.Parallel()
	for _, drained := range []bool{false, true} {
		t.Run(fmt.Sprint("drained: ", drained), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := inBubble(t, true, deliver.Config{}, rpc.Config{WriteTimeout: time.Minute})
				b.publish(t, "a", 500, 10_000)
				c := session{b.topics(connect.WithGRPC()).Session(t.Context()), t}
				c.say(subscribe(1, "a", fairlead.Earliest))
				c.granted(1)
				began := time.Now()
				synctest.Wait()
				reason, after := fairlead.TooSlow, time.Minute
				if drained {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					if err := b.readers.Drain(ctx, 0); err == nil {
						t.Error("nobody was reset")
					}
					reason, after = fairlead.Draining, 10*time.Second
				}
				if e := <-b.ended; e.Reason != reason || time.Since(began) != after || e.Events > 150 {
					t.Errorf("it ended as %+v after %v", e, time.Since(began))
				}
				_ = c.CloseRequest()
				_ = c.CloseResponse()
			})
		})
	}
}

func TestALargeMessageMayTakeItsTimeWhileItMoves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t, true, deliver.Config{}, rpc.Config{WriteTimeout: 10 * time.Second})
		b.publish(t, "a", 1, 1_000_000)
		asks := `{"topic":"a","after":"earliest"}`
		body := "\x00\x00\x00\x00" + string(rune(len(asks))) + asks
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a"+fairleadv1connect.TopicsSubscribeProcedure, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/connect+json")
		resp, err := b.net.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		part := make([]byte, 64<<10)
		for range 15 {
			time.Sleep(9 * time.Second)
			if _, err := io.ReadFull(resp.Body, part); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestARequestThatStopsComingIsGivenUp(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("over HTTP/2: ", h2), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := inBubble(t, h2, deliver.Config{}, rpc.Config{WriteTimeout: 20 * time.Second})
				body, rest := io.Pipe()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a"+fairleadv1connect.TopicsPublishProcedure, io.MultiReader(strings.NewReader(`{"topic":`), body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				began := time.Now()
				resp, err := b.net.Client.Do(req)
				if took := time.Since(began); took != 20*time.Second {
					t.Errorf("it took %v", took)
				}
				_ = rest.Close()
				if err == nil {
					text, _ := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode < 400 || !bytes.Contains(text, []byte("nothing of it for 20s: make the call again")) || !bytes.Contains(text, []byte("REQUEST_TIMEOUT")) {
						t.Errorf("%s %s", resp.Status, text)
					}
				}
			})
		})
	}
}

func TestAStreamOfMaximumAgeIsToldAndEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t, true, deliver.Config{}, rpc.Config{MaxAge: time.Minute, Heartbeat: time.Hour})
		b.publish(t, "a", 1, 1)
		began := time.Now()
		c := session{b.topics(connect.WithGRPC()).Session(t.Context()), t}
		c.say(subscribe(1, "a", fairlead.Earliest))
		c.granted(1)
		c.hear()
		m := c.hear()
		told := time.Since(began)
		if m.GetDraining().GetCursors()["a"] == "" {
			t.Errorf("got %v", m)
		}
		c.say(ping(2)) // it goes on for a while
		c.granted(2)
		_, err := c.Receive()
		wantCode(t, err, connect.CodeUnavailable, "DRAINING")
		if ended := time.Since(began); ended < 54*time.Second || ended > time.Minute || ended-told != 5*time.Second {
			t.Errorf("it was told after %v, and ended after %v", told, ended)
		}
		_ = c.CloseRequest()
		_ = c.CloseResponse()

		began = time.Now()
		stream, err := b.topics(connect.WithGRPC()).Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a"}))
		if err != nil {
			t.Fatal(err)
		}
		stream.Receive()
		at := stream.Msg().GetCursor()
		for stream.Receive() {
			t.Errorf("got %v", stream.Msg())
		}
		facts := wantCode(t, stream.Err(), connect.CodeUnavailable, "DRAINING")
		if ended := time.Since(began); ended < 54*time.Second || ended > time.Minute || facts["cursor"] != at || at == "" {
			t.Errorf("it ended after %v; ErrorInfo knows %v", ended, facts)
		}
		_ = stream.Close()

		began = time.Now()
		up := b.topics(connect.WithGRPC()).Upload(t.Context())
		if err := up.Send(&fairleadv1.UploadRequest{Topic: "a", Event: event("1")}); err != nil {
			t.Fatal(err)
		}
		conn, err := up.Conn()
		if err != nil {
			t.Fatal(err)
		}
		err = conn.Receive(new(fairleadv1.UploadResponse))
		facts = wantCode(t, err, connect.CodeUnavailable, "DRAINING")
		if ended := time.Since(began); ended < 54*time.Second || ended > time.Minute || facts["stored"] != "1" {
			t.Errorf("it ended after %v; ErrorInfo knows %v", ended, facts)
		}
		_ = conn.CloseRequest()
		_ = conn.CloseResponse()
	})
}

func TestAStreamBeatsInSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t, false, deliver.Config{}, rpc.Config{})
		b.publish(t, "a", 1, 1)
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := b.topics().Subscribe(ctx, connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a"}))
		if err != nil {
			t.Fatal(err)
		}
		stream.Receive()
		for range 3 {
			before := time.Now()
			if !stream.Receive() || stream.Msg().GetItem() != nil {
				t.Fatalf("got %v, %v", stream.Msg(), stream.Err())
			}
			if beat := time.Since(before); beat < 13500*time.Millisecond || beat > 16500*time.Millisecond {
				t.Errorf("it beats after %v", beat)
			}
		}
		cancel()
		_ = stream.Close()
		<-b.ended
	})
}
