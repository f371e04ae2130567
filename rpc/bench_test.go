package rpc_test

import (
	"net/http"
	"testing"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/internal/memnet"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
	"github.com/fairlead-edge/fairlead/topic"
)

// BenchmarkSubscribe reads events of 100 bytes that are there, over gRPC.
func BenchmarkSubscribe(b *testing.B) {
	readers := deliver.New(deliver.Config{AllowPublish: true, Topics: topic.NewStore(topic.StoreConfig{
		Policy: func(string) topic.Policy { return topic.Policy{Events: 100_000} },
	})})
	batch := topic.Batch{Events: make([]fairlead.Event, 10_000)}
	for i := range batch.Events {
		batch.Events[i].Data = make([]byte, 100)
	}
	for range 10 {
		if _, err := readers.Publish(b.Context(), http.Header{}, "a", batch); err != nil {
			b.Fatal(err)
		}
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := memnet.Serve(b, &http.Server{Handler: rpc.New(rpc.Config{Readers: readers}), Protocols: &protocols}, &http.Transport{Protocols: &protocols})
	client := fairleadv1connect.NewTopicsClient(server.Client, "http://a", connect.WithGRPC())
	b.ReportAllocs()
	for b.Loop() {
		stream, err := client.Subscribe(b.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a", After: "earliest"}))
		if err != nil {
			b.Fatal(err)
		}
		for range 1001 {
			if !stream.Receive() {
				b.Fatal(stream.Err())
			}
		}
		_ = stream.Close()
	}
}
