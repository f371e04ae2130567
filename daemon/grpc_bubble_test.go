package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/upstream"
)

// eager is a listener whose connections take their first bytes at once, as sockets
// do: both ends of HTTP/2 may begin with a write.
type eager struct{ net.Listener }

func (l eager) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &eagerConn{Conn: c, sent: make(chan struct{})}, err
}

type eagerConn struct {
	net.Conn

	first sync.Once
	sent  chan struct{}
}

func (c *eagerConn) Write(p []byte) (int, error) {
	taken := false
	c.first.Do(func() {
		taken = true
		p := bytes.Clone(p)
		go func() {
			defer close(c.sent)
			_, _ = c.Conn.Write(p)
		}()
	})
	if taken {
		return len(p), nil
	}
	<-c.sent
	return c.Conn.Write(p)
}

// The stations of a call, with their defaults, between a client and a server of
// grpc-go that have theirs: a server allows one ping in five minutes.
func TestACallMayBeSilentForHoursAtAnyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inside, outside := memnet.New(), memnet.New()
		b := &backend{calls: make(map[string]int)}
		b.Server = grpc.NewServer()
		testpb.RegisterTestServiceServer(b.Server, b)
		pool, err := upstream.New(upstream.Config{Endpoints: []string{"h2c://a.test"}, Dial: inside.Dial, Replaces: true})
		if err != nil {
			t.Fatal(err)
		}
		front, err := listen.New(listen.Config{Handler: proxy.New(proxy.Config{
			Target: &url.URL{Scheme: "http", Host: "a.test"}, Transport: pool,
			Observe: func(o proxy.Outcome) {
				if o.Err != nil || o.Status != http.StatusOK {
					t.Errorf("a call ended as %d, %v", o.Status, o.Err)
				}
			},
		})})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := grpc.NewClient("passthrough:///a.test", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return outside.Dial(ctx, "", address) }))
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() { _ = b.Serve(eager{inside}) })
		serving.Go(func() { _ = front.Serve(outside, nil) })
		defer func() {
			_ = conn.Close()
			_ = front.Close()
			pool.Close()
			b.Stop()
			serving.Wait()
		}()

		c := testpb.NewTestServiceClient(conn)
		both, err := c.FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // the first silence is before the response's header
			time.Sleep(3 * time.Hour)
			if err := both.Send(&testpb.StreamingOutputCallRequest{Payload: payload(1)}); err != nil {
				t.Fatal(err)
			}
			if _, err := both.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		up, err := c.StreamingInputCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := up.Send(&testpb.StreamingInputCallRequest{Payload: payload(1)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Hour)
		}
		if sum, err := up.CloseAndRecv(); err != nil || sum.GetAggregatedPayloadSize() != 3 {
			t.Errorf("the sum is %v, %v", sum, err)
		}
		_ = both.CloseSend()
		if _, err := both.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("the end: %v", err)
		}
	})
}
