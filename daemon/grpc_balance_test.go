package daemon_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead/daemon"
)

func newBackends(t *testing.T, n int) []*backend {
	t.Helper()
	all := make([]*backend, n)
	for i := range all {
		all[i] = newBackend(t)
	}
	return all
}

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
	backends := newBackends(t, 3)
	p := behind(t, ", balance: round_robin", backends...)
	if failed := calls(t, channel(t, p), 1_000, 1); failed != nil {
		t.Fatal(failed[0])
	}
	for _, b := range backends {
		if n := b.called(); n < 332 || n > 335 {
			t.Errorf("a backend had %d of 1,000 calls", n)
		}
	}
}

func TestCallsAtOneTimeAreBalancedByLoad(t *testing.T) {
	backends := newBackends(t, 3)
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
	for range 8 {
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
	backends := newBackends(t, 3)
	p := behind(t, "", backends...)
	made, stop := flowing(t, channel(t, p))
	defer stop()
	more(t, made, 300)
	backends[0].GracefulStop()
	more(t, made, 300)
	if failed := stop(); failed != nil {
		t.Errorf("%d of %d calls failed: %v", len(failed), made.Load(), failed[0])
	}
	once(t, backends)
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

func TestABackendThatIsKilledFailsOnlyTheCallsThatItHad(t *testing.T) {
	backends := newBackends(t, 3)
	p := behind(t, "", backends...)
	made, stop := flowing(t, channel(t, p))
	defer stop()
	more(t, made, 300)
	backends[0].Stop() // closes its connections at once
	more(t, made, 300)
	failed := stop()
	if len(failed) > 8 {
		t.Errorf("%d calls failed, and 8 at most were in flight", len(failed))
	}
	for _, err := range failed {
		if status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
	}
	once(t, backends)
}

func TestABackendThatIsAddedGetsItsShare(t *testing.T) {
	backends := newBackends(t, 3)
	config := func(of []*backend) string {
		return "log: {level: warn}\nupstreams: {u: {endpoints: " + endpoints(of) + ", balance: round_robin, slow_start: 0s}}\nroutes: [{path: /**, upstream: u}]"
	}
	file := write(t, config(backends[:2]))
	p := start(t, "", daemon.Options{Config: file})
	made, stop := flowing(t, channel(t, p))
	defer stop()
	more(t, made, 100)
	if err := os.WriteFile(file, []byte(config(backends)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signals <- syscall.SIGHUP
	eventually(t, "the new backend is called", func() bool { return backends[2].called() > 0 })
	before := [3]int{backends[0].called(), backends[1].called(), backends[2].called()}
	more(t, made, 600)
	if failed := stop(); failed != nil {
		t.Errorf("%d of %d calls failed: %v", len(failed), made.Load(), failed[0])
	}
	total, share := 0, 0
	for i, b := range backends {
		total += b.called() - before[i]
		share = b.called() - before[i]
	}
	if share < total*8/30 || share > total*12/30 {
		t.Errorf("the new backend had %d of %d calls", share, total)
	}
	once(t, backends)
}
