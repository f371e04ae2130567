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
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/fairlead-edge/fairlead"
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

// bubble is the stations of a call, with their defaults, between clients and a
// server of grpc-go, in memory and under simulated time.
type bubble struct {
	*backend

	client testpb.TestServiceClient
	// raw tells a server deadlines that it does not keep itself.
	raw *http.Client

	mu   sync.Mutex
	seen []proxy.Outcome
}

// inBubble runs f. Endpoints of cfg lead all to the backend, after dial, unless that
// is nil, has returned nil.
func inBubble(t *testing.T, cfg upstream.Config, dial func(address string) error, f func(t *testing.T, b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		inside, outside := memnet.New(), memnet.New()
		b := &bubble{backend: &backend{calls: make(map[string]int), Server: grpc.NewServer()}}
		testpb.RegisterTestServiceServer(b.Server, b)
		cfg.Replaces = true // pools of other tests have the same name
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if dial != nil {
				if err := dial(address); err != nil {
					return nil, err
				}
			}
			return inside.Dial(ctx, network, address)
		}
		pool, err := upstream.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		front, err := listen.New(listen.Config{Handler: proxy.New(proxy.Config{
			Target: &url.URL{Scheme: "http", Host: "a.test"}, Transport: pool,
			Observe: func(o proxy.Outcome) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.seen = append(b.seen, o)
			},
		})})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := grpc.NewClient("passthrough:///front.test", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return outside.Dial(ctx, "", address) }))
		if err != nil {
			t.Fatal(err)
		}
		b.client = testpb.NewTestServiceClient(conn)
		transport := &http.Transport{DialContext: outside.Dial, Protocols: new(http.Protocols)}
		transport.Protocols.SetUnencryptedHTTP2(true)
		b.raw = &http.Client{Transport: transport}
		var serving sync.WaitGroup
		serving.Go(func() { _ = b.Serve(eager{inside}) })
		serving.Go(func() { _ = front.Serve(outside, nil) })
		defer func() {
			_ = conn.Close()
			transport.CloseIdleConnections()
			_ = front.Close()
			pool.Close()
			b.Stop()
			serving.Wait()
		}()
		f(t, b)
	})
}

// answered is what the client of a call was told.
type answered struct {
	status, message, pushback, left string // left: of its time, in ms, when the backend had it
	after                           time.Duration
}

// call makes an empty call that has so much time.
func (b *bubble) call(t *testing.T, timeout string) answered {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://front.test"+testpb.TestService_UnaryCall_FullMethodName, bytes.NewReader(make([]byte, 5)))
	if err != nil {
		t.Error(err)
		return answered{}
	}
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Grpc-Timeout": {timeout}}
	began := time.Now()
	res, err := b.raw.Do(req)
	if err != nil {
		t.Error(err)
		return answered{}
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("%s, %v", res.Status, err)
	}
	h := res.Header
	if h.Get("Grpc-Status") == "" {
		h = res.Trailer
	}
	return answered{h.Get("Grpc-Status"), h.Get("Grpc-Message"), h.Get("Grpc-Retry-Pushback-Ms"), h.Get("X-Left"), time.Since(began)}
}

func (b *bubble) want(t *testing.T, got answered, status, message, pushback string, after time.Duration) {
	t.Helper()
	if got.status != status || got.message != message || got.pushback != pushback || got.after != after {
		t.Errorf("the client was told %+v", got)
	}
}

// A server of grpc-go allows one ping in five minutes.
func TestACallMayBeSilentForHoursAtAnyTime(t *testing.T) {
	inBubble(t, upstream.Config{Endpoints: []string{"h2c://a.test"}}, nil, func(t *testing.T, b *bubble) {
		both, err := b.client.FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		up, err := b.client.StreamingInputCall(t.Context()) // whose response begins with its end
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(3 * time.Hour)
			say(t, both)
			if err := up.Send(&testpb.StreamingInputCallRequest{Payload: payload(1)}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Hour)
		if sum, err := up.CloseAndRecv(); err != nil || sum.GetAggregatedPayloadSize() != 3 {
			t.Errorf("the sum is %v, %v", sum, err)
		}
		_ = both.CloseSend()
		if _, err := both.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("the end: %v", err)
		}
		synctest.Wait()
		for _, o := range b.seen {
			if o.Err != nil || o.Status != http.StatusOK {
				t.Errorf("a call ended as %d, %v", o.Status, o.Err)
			}
		}
	})
}

func TestTheTimeInTheQueueIsTheCallsOwn(t *testing.T) {
	cfg := upstream.Config{Endpoints: []string{"h2c://a.test"}, Connections: upstream.Connections{MaxInFlight: 1}}
	inBubble(t, cfg, nil, func(t *testing.T, b *bubble) {
		entry, release := b.hold()
		var first sync.WaitGroup
		first.Go(func() {
			if _, err := b.client.UnaryCall(t.Context(), &testpb.SimpleRequest{}); err != nil {
				t.Error(err)
			}
		})
		<-entry
		b.want(t, b.call(t, "1S"), "4", "the call's deadline has passed", "", time.Second)
		b.want(t, b.call(t, "10S"), "14", "the upstream is busy, and did not become free in time; try again", "1000", 3*time.Second)
		time.AfterFunc(2*time.Second, release)
		got := b.call(t, "10S")
		b.want(t, got, "0", "", "", 2*time.Second)
		if got.left != "8000" && got.left != "8001" {
			t.Errorf("the backend was given %s ms", got.left)
		}
		first.Wait()
		if n := b.called(); n != 2 {
			t.Errorf("%d calls reached the backend", n)
		}
	})
}

func TestTheTimeOfAnAttemptThatReachedNobodyIsTheCallsOwn(t *testing.T) {
	cfg := upstream.Config{Endpoints: []string{"h2c://a.test", "h2c://b.test"}, Balance: upstream.Balance{Policy: "round_robin"}}
	dial := func(address string) error {
		if address == "a.test:80" {
			time.Sleep(600 * time.Millisecond)
			return syscall.ECONNREFUSED
		}
		return nil
	}
	inBubble(t, cfg, dial, func(t *testing.T, b *bubble) {
		got := b.call(t, "5S")
		b.want(t, got, "0", "", "", 600*time.Millisecond)
		if got.left != "4400" && got.left != "4401" {
			t.Errorf("the backend was given %s ms", got.left)
		}
	})
}

func TestABackendThatDoesNotEndACallInTimeIsToldTo(t *testing.T) {
	inBubble(t, upstream.Config{Endpoints: []string{"h2c://a.test"}}, nil, func(t *testing.T, b *bubble) {
		_, release := b.hold()
		defer release()
		b.want(t, b.call(t, "1500m"), "4", "the call's deadline has passed", "", 1500*time.Millisecond)
		if err := <-b.left; err == nil {
			t.Error("it goes on")
		}
		synctest.Wait()
		if len(b.seen) != 1 || fairlead.AsError(b.seen[0].Err).Code != fairlead.DeadlineExceeded {
			t.Errorf("%+v", b.seen)
		}
	})
}
