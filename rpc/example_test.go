package rpc_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
)

// A handler beside the resource /topics serves the same topics by calls.
func Example() {
	topics := deliver.New(deliver.Config{AllowPublish: true})
	calls := rpc.New(rpc.Config{Readers: topics})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Serves(r.URL.Path) {
			calls.ServeHTTP(w, r)
			return
		}
		topics.ServeHTTP(w, r)
	}))
	defer server.Close()

	client := fairleadv1connect.NewTopicsClient(server.Client(), server.URL) // by Connect, over HTTP/1.1
	_, err := client.Publish(context.Background(), connect.NewRequest(&fairleadv1.PublishRequest{
		Topic: "news", Events: []*fairleadv1.Event{{Data: []byte("hello")}}, Close: true,
	}))
	if err != nil {
		log.Print(err)
		return
	}
	stream, err := client.Subscribe(context.Background(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "news", After: "earliest"}))
	if err != nil {
		log.Print(err)
		return
	}
	for stream.Receive() {
		if e := stream.Msg().GetEvent(); e != nil {
			fmt.Printf("%s\n", e.GetData())
		}
	}
	fmt.Println("ended with", stream.Err())
	if err := stream.Close(); err != nil {
		log.Print(err)
	}

	// Output:
	// hello
	// ended with <nil>
}
