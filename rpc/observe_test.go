package rpc_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
)

func TestWhatASubscriberIsGivenIsToldByItsProtocol(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"grpc", "grpcweb", "connect"} {
		var mu sync.Mutex
		var told []string
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf(format, args...))
		}
		s := serve(t, deliver.Config{Observer: deliver.Observer{
			Began:       func(transport, how string) { note("%s begins: %s", transport, how) },
			Established: func(transport string, took time.Duration) { note("%s established %v", transport, took >= 0) },
			Delivered: func(d deliver.Delivery) {
				note("%s: %d, first %v, late %v, bytes %v", d.Transport, d.Events, d.First >= 0, d.Delay >= 0, d.Bytes > 0)
			},
		}}, rpc.Config{})
		at := s.publish("a", "1")
		c := fairleadv1connect.NewTopicsClient(s.client, s.url, protocols[name]...)
		stream, err := c.Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a", After: string(fairlead.Earliest)}))
		if err != nil {
			t.Fatal(err)
		}
		for stream.Msg().GetEvent() == nil && stream.Receive() {
		}
		mu.Lock()
		got := slices.Clone(told)
		mu.Unlock()
		if want := []string{
			name + " begins: not", name + " established true", name + ": 1, first true, late false, bytes true",
		}; stream.Msg().GetCursor() != string(at) || !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		_ = stream.Close()
	}
}
