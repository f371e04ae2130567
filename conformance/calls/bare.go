//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"google.golang.org/grpc"

	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
)

// bare is the least that a server of grpc-go can do for the same calls: it keeps
// what is published in a slice, and sends that.
type bare struct {
	mu     sync.Mutex
	events map[string][]*fairleadv1.Event // by topic; as many as are published
}

// runBare serves until it is killed.
func runBare(out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // the process's own life
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "fairlead.v1.Topics",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Publish", Handler: publishBare}},
		Streams:     []grpc.StreamDesc{{StreamName: "Subscribe", Handler: subscribeBare, ServerStreams: true}},
	}, &bare{events: make(map[string][]*fairleadv1.Event)})
	fmt.Fprintf(out, "http http://%s\nready\n", l.Addr())
	return s.Serve(l)
}

func publishBare(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // as grpc-go has it
	b, req := srv.(*bare), new(fairleadv1.PublishRequest)
	if err := decode(req); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.events[req.GetTopic()]) < retained {
		b.events[req.GetTopic()] = append(b.events[req.GetTopic()], req.GetEvents()...)
	}
	return &fairleadv1.PublishResponse{First: cursor, Last: cursor, Count: 1}, nil
}

// cursor is as long as one of Fairlead's.
const cursor = "6c3l85kfdl33o11"

// retained is how many events a topic of Fairlead keeps by default.
const retained = 10_000

func subscribeBare(srv any, stream grpc.ServerStream) error {
	req := new(fairleadv1.SubscribeRequest)
	if err := stream.RecvMsg(req); err != nil {
		return err
	}
	b := srv.(*bare)
	b.mu.Lock()
	events := b.events[req.GetTopic()]
	b.mu.Unlock()
	for _, e := range events {
		if err := stream.SendMsg(&fairleadv1.SubscribeResponse{Cursor: cursor, Item: &fairleadv1.SubscribeResponse_Event{Event: e}}); err != nil {
			return err
		}
	}
	return nil
}
