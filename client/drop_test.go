package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/topic"
)

// frail is a connection that breaks after so many bytes were read.
type frail struct {
	net.Conn
	left int
}

func (c *frail) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		_ = c.Conn.Close()
	}
	return n, err
}

func TestConnectionsThatBreakAnywhereLoseAndRepeatNothing(t *testing.T) {
	t.Parallel()
	const events = 300
	for _, transport := range transports {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := topic.NewStore(topic.StoreConfig{})
				s := serve(t, both(deliver.New(deliver.Config{Topics: store})).ServeHTTP)
				through := s.Client.Transport.(*http.Transport)
				dial, broken, room := through.DialContext, 0, 4_000
				if transport == client.Poll {
					room = 30_000 // a page must fit at times
				}
				through.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					if err != nil {
						return nil, err
					}
					return &frail{conn, 1 + rand.N(room)}, nil
				}
				l, err := store.Open("a")
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					defer l.Close()
					for i := range events {
						if _, err := l.Append(t.Context(), topic.Batch{Events: []fairlead.Event{{Data: fmt.Append(nil, i)}}}); err != nil {
							t.Error(err)
						}
						time.Sleep(rand.N(200 * time.Millisecond))
					}
				}()
				var want, got []string
				for i := range events {
					want = append(want, fmt.Sprint(i))
				}
				for item, err := range client.Subscribe(t.Context(), url, client.Config{
					Transport: transport, HTTP: s.Client, After: fairlead.Earliest, OnRetry: func(error, time.Duration) { broken++ },
				}) {
					switch {
					case err != nil:
						t.Fatal(err)
					case item.Kind == client.KindEvent:
						got = append(got, string(item.Event.Data))
					case item.Kind != client.KindEnd:
						t.Errorf("%s", show(&item))
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%q, want all of %d", got, events)
				}
				if broken == 0 {
					t.Errorf("no connection broke")
				}
			})
		})
	}
}

func TestACallThatBreaksAfterAnyByteLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	store := topic.NewStore(topic.StoreConfig{})
	l, err := store.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	res, err := l.Append(t.Context(), topic.Batch{Events: []fairlead.Event{{Data: []byte("a")}, {Data: []byte("b")}, {Data: []byte("c")}}})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	want := []string{"a@" + string(res.First), "b", "c@" + string(res.Last), "end@"}
	for room, broken := 1, true; broken; room++ {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, both(deliver.New(deliver.Config{Topics: store})).ServeHTTP)
			through := s.Client.Transport.(*http.Transport)
			dial, dialled := through.DialContext, 0
			through.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				if dialled++; err != nil || dialled > 1 {
					return conn, err
				}
				return &frail{conn, room}, nil
			}
			broken = false
			items, err := collect(t.Context(), url, client.Config{
				Transport: client.GRPC, HTTP: s.Client, After: fairlead.Earliest, OnRetry: func(error, time.Duration) { broken = true },
			})
			if !slices.EqualFunc(items, want, strings.HasPrefix) || err != nil {
				t.Errorf("after %d bytes: %q, %v, want %q", room, items, err, want)
			}
		})
	}
}
