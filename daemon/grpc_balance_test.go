package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead/daemon"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
)

// calls makes n unary calls over the channel, many at one time, and returns the
// errors. Each names itself.
func calls(t *testing.T, c grpc.ClientConnInterface, n, many int) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	client := testpb.NewTestServiceClient(c)
	var next atomic.Int64
	var mu sync.Mutex
	var failed []error
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				_, err := client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: &testpb.Payload{Body: fmt.Append(nil, i)}})
				if err != nil {
					mu.Lock()
					failed = append(failed, fmt.Errorf("call %d: %w", i, err))
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return failed
}

func TestCallsOfOneConnectionAreBalancedOneByOne(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		backends := newBackends(t, 3, secure)
		p := behind(t, ", balance: round_robin", backends...)
		if failed := calls(t, channel(t, p), 1_000, 1); failed != nil {
			t.Fatal(failed[0])
		}
		for _, b := range backends {
			if n := b.called(); n < 332 || n > 335 {
				t.Errorf("a backend had %d of 1,000 calls", n)
			}
		}
	})
}

func TestCallsAtOneTimeAreBalancedByLoad(t *testing.T) {
	backends := newBackends(t, 3, false)
	// They are equal although the machine may be busy: who gets a turn late answers no
	// later than the others.
	together := &waves{size: 100}
	for _, b := range backends {
		b.waves = together
	}
	p := behind(t, ", balance: p2c", backends...)
	const n = 10_000
	if failed := calls(t, channel(t, p), n, n); failed != nil {
		t.Fatal(failed[0])
	}
	for _, b := range backends {
		if got := b.called(); got < n/3*8/10 || got > n/3*12/10 {
			t.Errorf("a backend had %d of %d calls", got, n)
		}
	}
}

// workers make the calls of flowing, each one at a time.
const workers = 8

// flowing makes calls until it is stopped; stop returns how many there were, and the
// errors.
func flowing(t *testing.T, c grpc.ClientConnInterface) (made *atomic.Int64, stop func() []error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	client := testpb.NewTestServiceClient(c)
	made = new(atomic.Int64)
	over := make(chan struct{})
	var mu sync.Mutex
	var failed []error
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				id := fmt.Append(nil, made.Add(1))
				if _, err := client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: &testpb.Payload{Body: id}}); err != nil {
					mu.Lock()
					failed = append(failed, fmt.Errorf("call %s: %w", id, err))
					mu.Unlock()
				}
			}
		})
	}
	return made, sync.OnceValue(func() []error {
		close(over)
		all.Wait()
		cancel()
		return failed
	})
}

// more waits until that many more calls were made.
func more(t *testing.T, made *atomic.Int64, n int64) {
	t.Helper()
	from := made.Load()
	eventually(t, fmt.Sprintf("%d more calls were made", n), func() bool { return made.Load() >= from+n })
}

func TestABackendThatStopsGracefullyFailsNoCall(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		backends := newBackends(t, 3, secure)
		c := channel(t, behind(t, "", backends...))
		made, stop := flowing(t, c)
		defer stop()
		more(t, made, 300)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		going, last := open(ctx, t, c, "")
		var stopped sync.WaitGroup
		stopped.Go(of(backends, last).GracefulStop)
		more(t, made, 300)
		for range 10 { // a stream that has begun goes on
			say(t, going)
		}
		if _, from := open(ctx, t, c, ""); from == last {
			t.Error("a new stream went to the one that stops")
		}
		if err := going.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := going.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("the stream's end: %v", err)
		}
		stopped.Wait()
		more(t, made, 300)
		if failed := stop(); failed != nil {
			t.Errorf("%d of %d calls failed: %v", len(failed), made.Load(), failed[0])
		}
		once(t, backends)
	})
}

type bothWays = grpc.BidiStreamingClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]

// open opens a stream, which has begun at the backend from; it tries again until that
// is the one that is wanted, "" for any.
func open(ctx context.Context, t *testing.T, c grpc.ClientConnInterface, want string) (stream bothWays, from string) {
	t.Helper()
	for {
		stream, err := testpb.NewTestServiceClient(c).FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		say(t, stream)
		header, err := stream.Header()
		if err != nil {
			t.Fatal(err)
		}
		if from := header.Get("x-from")[0]; want == "" || from == want {
			return stream, from
		}
	}
}

func say(t *testing.T, stream bothWays) {
	t.Helper()
	err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: payload(1)})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func of(backends []*backend, address string) *backend {
	return backends[slices.IndexFunc(backends, func(b *backend) bool { return b.address == address })]
}

// once checks that no call was executed twice.
func once(t *testing.T, backends []*backend) {
	t.Helper()
	times := map[string]int{}
	for _, b := range backends {
		b.mu.Lock()
		for id, n := range b.calls {
			times[id] += n
		}
		b.mu.Unlock()
	}
	for id, n := range times {
		if n > 1 {
			t.Errorf("call %s was executed %d times", id, n)
		}
	}
}

func TestABackendThatIsKilledFailsTheCallsThatItHadAndNoOther(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		const each = 5
		backends := newBackends(t, 3, secure)
		client := testpb.NewTestServiceClient(channel(t, behind(t, ", balance: round_robin", backends...)))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ask := func(id string) (string, error) {
			res, err := client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: &testpb.Payload{Body: []byte(id)}})
			return res.GetHostname(), err
		}
		var entries []<-chan struct{}
		var releases []func()
		for _, b := range backends {
			entry, release := b.hold()
			entries, releases = append(entries, entry), append(releases, release)
			defer release()
		}
		type outcome struct {
			id, by string
			err    error
		}
		outcomes := make(chan outcome)
		var all sync.WaitGroup
		defer all.Wait()
		for i := range each * len(backends) {
			all.Go(func() {
				id := fmt.Sprint("held ", i)
				by, err := ask(id)
				outcomes <- outcome{id, by, err}
			})
		}
		for _, entry := range entries {
			for range each {
				<-entry
			}
		}
		backends[0].Stop() // closes its connections at once
		for range each {
			o := <-outcomes
			if status.Code(o.err) != codes.Unavailable || !strings.Contains(o.err.Error(), "the upstream") || backends[0].calls[o.id] != 1 {
				t.Errorf("%s: %v, %v", o.id, o.by, o.err)
			}
		}
		releases[1]()
		releases[2]()
		for range each * 2 {
			if o := <-outcomes; o.err != nil || o.by == backends[0].address {
				t.Errorf("%s: %v, %v", o.id, o.by, o.err)
			}
		}
		for i := range 30 {
			if by, err := ask(fmt.Sprint("later ", i)); err != nil || by == backends[0].address {
				t.Errorf("call %d after it is answered by %s, %v", i, by, err)
			}
		}
		once(t, backends)
	})
}

func TestKillingABackendUnderLoadRepeatsNoCall(t *testing.T) {
	backends := newBackends(t, 3, false)
	made, stop := flowing(t, channel(t, behind(t, "", backends...)))
	defer stop()
	more(t, made, 300)
	backends[0].Stop()
	more(t, made, 300)
	failed := stop()
	if len(failed) > workers {
		t.Errorf("%d calls failed, and %d at most were in flight", len(failed), workers)
	}
	for _, err := range failed {
		if status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
	}
	once(t, backends)
}

func TestABackendThatIsAddedGetsItsShare(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		backends := newBackends(t, 3, secure)
		const how = ", balance: round_robin, slow_start: 0s"
		file := write(t, before(how, backends[:2]...))
		free := "127.0.0.1:0"
		options := daemon.Options{Config: file}
		if secure {
			options.HTTPS = &free
		}
		p := start(t, "", options)
		c := channel(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		going, _ := open(ctx, t, c, "")
		made, stop := flowing(t, c)
		defer stop()
		more(t, made, 100)
		if err := os.WriteFile(file, []byte(before(how, backends...)), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signals <- syscall.SIGHUP
		eventually(t, "the new backend is called", func() bool { return backends[2].called() > 0 })
		from := [3]int{backends[0].called(), backends[1].called(), backends[2].called()}
		more(t, made, 600)
		say(t, going) // a stream goes on
		if failed := stop(); failed != nil {
			t.Errorf("%d of %d calls failed: %v", len(failed), made.Load(), failed[0])
		}
		total, share := 0, 0
		for i, b := range backends {
			total += b.called() - from[i]
			share = b.called() - from[i]
		}
		if share < total*9/30 || share > total*11/30 {
			t.Errorf("the new backend had %d of %d calls", share, total)
		}
		once(t, backends)
	})
}

func TestCallsThatAreAnsweredBeforeTheirClientHasSaidAllAreNoFlood(t *testing.T) {
	p := start(t, "publish_token: secret\n", daemon.Options{Topics: true})
	c := channel(t, p)
	for i := range 600 { // more than a client may give up
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		stream, err := c.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/fairlead.v1.Topics/Upload")
		if err == nil {
			err = stream.RecvMsg(new(fairleadv1.UploadResponse))
		}
		if status.Code(err) != codes.Unauthenticated {
			t.Fatalf("call %d: %v", i, err)
		}
		cancel()
	}
}
