package grpcpool_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead/grpcpool"
	"github.com/fairlead-edge/fairlead/internal/memnet"
)

// city is backends in memory by their addresses.
type city struct {
	mu   sync.Mutex
	nets map[string]*memnet.Network
	at   map[string]*echo
}

// start starts a backend at the address.
func (c *city) start(t testing.TB, address string) (stop func()) {
	network, e := memnet.New(), &echo{}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nets == nil {
		c.nets, c.at = make(map[string]*memnet.Network), make(map[string]*echo)
	}
	c.nets[address], c.at[address] = network, e
	return start(t, network, e)
}

func (c *city) options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			c.mu.Lock()
			network := c.nets[address]
			c.mu.Unlock()
			if network == nil {
				return nil, errors.New("nobody lives there")
			}
			return network.Dial(ctx, "", address)
		}),
	}
}

// calls returns how many calls each address got, and their streams now.
func (c *city) calls(address string) (calls, held int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls, _, held, _ = c.at[address].counts()
	return calls, held
}

func addresses(all ...string) (s resolver.State) {
	for _, a := range all {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	return s
}

func TestCallsGoRoundAllAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &city{}
		for _, a := range []string{"a", "b", "c"} {
			c.start(t, a)
		}
		names := manual.NewBuilderWithScheme("town")
		names.InitialState(addresses("a", "b", "c"))
		p := open(t, "town:///x", grpcpool.Config{DialOptions: c.options(), Resolver: names})
		synctest.Wait()
		if s := p.Stats(); s.Channels[0].Connections != 3 {
			t.Fatalf("%+v", s)
		}
		for range 30 {
			if err := unary(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range []string{"a", "b", "c"} {
			if n, _ := c.calls(a); n != 10 {
				t.Errorf("%s got %d of 30", a, n)
			}
		}
	})
}

func TestAFullConnectionIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &city{}
		c.start(t, "a")
		names := manual.NewBuilderWithScheme("town")
		names.InitialState(addresses("a"))
		p := open(t, "town:///x", grpcpool.Config{DialOptions: c.options(), Resolver: names, StreamsPerConnection: 10, MaxChannels: 1})
		ctx, cancel := context.WithCancel(t.Context())
		for range 8 {
			hold(ctx, t, p)
		}
		all, cancelAll := context.WithCancel(t.Context())
		c.start(t, "b")
		names.UpdateState(addresses("a", "b"))
		synctest.Wait()
		for range 12 { // in turn would be six each, four too many for a
			hold(all, t, p)
		}
		_, a := c.calls("a")
		_, b := c.calls("b")
		if a != 10 || b != 10 || p.Stats().Waits != 0 {
			t.Errorf("%d and %d streams, %d waited", a, b, p.Stats().Waits)
		}
		if s := p.Stats(); len(s.Channels) != 1 || s.InFlight != 20 {
			t.Errorf("%+v", s)
		}
		cancel() // a has room again, b has none
		synctest.Wait()
		for range 8 {
			hold(all, t, p)
		}
		_, a = c.calls("a")
		_, b = c.calls("b")
		if a != 10 || b != 10 {
			t.Errorf("%d and %d streams", a, b)
		}
		cancelAll()
		synctest.Wait()
		for range 20 {
			hold(t.Context(), t, p)
		}
		_, a = c.calls("a")
		_, b = c.calls("b")
		if a != 10 || b != 10 {
			t.Errorf("%d and %d streams once all had ended", a, b)
		}
	})
}

func TestWhoWaitsGoesOnWhenAnotherAddressAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &city{}
		c.start(t, "a")
		names := manual.NewBuilderWithScheme("town")
		names.InitialState(addresses("a", "b"))
		p := open(t, "town:///x", grpcpool.Config{DialOptions: c.options(), Resolver: names, StreamsPerConnection: 2, MaxChannels: 1})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { hold(t.Context(), t, p) })
		}
		time.Sleep(time.Second)
		if s := p.Stats(); s.InFlight != 2 || s.Waiting != 2 {
			t.Errorf("%+v", s)
		}
		c.start(t, "b")
		wg.Wait()
	})
}

func TestCallsOfALostConnectionAreSentAgainAlthoughTheOtherIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, answer := &city{}, make(chan struct{})
		stop := map[string]func(){"a": c.start(t, "a"), "b": c.start(t, "b")}
		for _, e := range c.at {
			e.unary = func() error { <-answer; return nil }
		}
		names := manual.NewBuilderWithScheme("town")
		names.InitialState(addresses("a", "b"))
		p := open(t, "town:///x", grpcpool.Config{
			DialOptions: c.options(), Resolver: names, StreamsPerConnection: 10, MaxChannels: 1, Retry: grpcpool.Retry{Attempts: 3},
		})
		synctest.Wait()
		var wg sync.WaitGroup
		var failed atomic.Int64
		for range 20 {
			wg.Go(func() {
				if err := unary(t.Context(), p); err != nil {
					failed.Add(1)
				}
			})
		}
		synctest.Wait()
		stop["b"]()
		time.Sleep(10 * time.Second)
		if _, held := c.calls("a"); held != 14 { // the retries that the budget allows
			t.Errorf("%d streams", held)
		}
		close(answer)
		wg.Wait()
		if n := failed.Load(); n != 6 {
			t.Errorf("%d failed", n)
		}
	})
}

func TestAnotherChannelIsOpenedBeforeOneIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, &echo{}), StreamsPerConnection: 10})
		for i := range 9 {
			if n := len(p.Stats().Channels); n != 1 {
				t.Errorf("%d channels for %d calls", n, i)
			}
			hold(t.Context(), t, p)
		}
		if s := p.Stats(); len(s.Channels) != 2 || s.Channels[0].InFlight != 9 {
			t.Errorf("%+v", s)
		}
	})
}

func TestACallGoesToNoChannelThatCannotConnectWhileAnotherCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, dials := memnet.New(), atomic.Int64{}
		start(t, network, &echo{})
		p := open(t, "passthrough:///peer", grpcpool.Config{MinChannels: 3, DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				if dials.Add(1) != 2 {
					return nil, errors.New("no way")
				}
				return network.Dial(ctx, "", address)
			}),
		}})
		synctest.Wait()
		for range 10 {
			hold(t.Context(), t, p)
		}
		up := 0
		for _, c := range p.Stats().Channels {
			if c.State == "READY" {
				up++
			}
			if (c.State == "READY") != (c.InFlight == 10) {
				t.Errorf("%+v", c)
			}
		}
		if up != 1 {
			t.Errorf("%d channels are ready", up)
		}
	})
}

func TestAResolverIsAskedAgainAlthoughNothingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &city{}
		c.start(t, "a")
		c.start(t, "b")
		names := manual.NewBuilderWithScheme("town")
		names.InitialState(addresses("a"))
		var asked atomic.Int64
		names.ResolveNowCallback = func(resolver.ResolveNowOptions) {
			if asked.Add(1) == 2 {
				go names.UpdateState(addresses("a", "b"))
			}
		}
		p := open(t, "x", grpcpool.Config{DialOptions: c.options(), Resolver: names}) // a target without a scheme
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if n := asked.Load(); n != 2 {
			t.Errorf("asked %d times in a minute", n)
		}
		for range 10 {
			if err := unary(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		if n, _ := c.calls("b"); n != 5 {
			t.Errorf("the new one got %d of 10", n)
		}
		if s := p.Stats(); s.Target != "town:///x" || s.Channels[0].Connections != 2 {
			t.Errorf("%+v", s)
		}
		time.Sleep(10 * time.Minute) // of which after 3 nobody needs to know
		before := asked.Load()
		time.Sleep(10 * time.Minute)
		if n := asked.Load() - before; n != 0 {
			t.Errorf("asked %d times in ten idle minutes", n)
		}
	})
}

func TestAServerThatIsKilledAndComesBackIsUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &city{}
		stop := c.start(t, "a")
		p := open(t, "passthrough:///a", grpcpool.Config{DialOptions: c.options()})
		s := hold(t.Context(), t, p)
		stop()
		if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
		synctest.Wait()
		if err := unary(t.Context(), p); status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
		st := p.Stats()
		if ch := st.Channels[0]; st.InFlight != 0 || ch.State != "TRANSIENT_FAILURE" || ch.Connections != 0 || ch.Reason == "" || ch.ReasonAt.IsZero() {
			t.Errorf("%+v", st)
		}
		c.start(t, "a")
		time.Sleep(time.Minute)
		if err := unary(t.Context(), p); err != nil {
			t.Error(err)
		}
		if ch := p.Stats().Channels[0]; ch.State != "READY" || ch.Connections != 1 {
			t.Errorf("%+v", ch)
		}
	})
}

func TestACallMayWaitUntilItsServerIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &city{}
		p := open(t, "passthrough:///a", grpcpool.Config{DialOptions: c.options(), WaitForReady: true})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := unary(t.Context(), p); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Minute)
		if s := p.Stats(); s.InFlight != 1 || !strings.Contains(s.Channels[0].Reason, "nobody lives there") {
			t.Errorf("%+v", s)
		}
		c.start(t, "a")
		wg.Wait()
	})
}

func TestNoFurtherChannelIsOpenedToATargetThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &city{}
		p := open(t, "passthrough:///a", grpcpool.Config{DialOptions: c.options(), WaitForReady: true, StreamsPerConnection: 2})
		synctest.Wait()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() { hold(t.Context(), t, p) })
		}
		time.Sleep(time.Minute)
		if s := p.Stats(); len(s.Channels) != 1 || s.InFlight != 2 || s.Waiting != 4 {
			t.Errorf("while it is down: %+v", s)
		}
		c.start(t, "a")
		wg.Wait()
		if s := p.Stats(); len(s.Channels) < 3 || s.InFlight != 6 || s.Waiting != 0 {
			t.Errorf("once it is up: %+v", s)
		}
	})
}

func TestNoCallFailsWhenAServerEndsOldConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &echo{}
		p := open(t, "passthrough:///peer", grpcpool.Config{
			DialOptions: serveMemory(t, e, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: time.Minute})),
		})
		for range 600 {
			if err := unary(t.Context(), p); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		if c := p.Stats().Channels[0]; c.State != "READY" || !strings.Contains(c.Reason, "has ended") {
			t.Errorf("%+v", c)
		}
	})
}

func TestASurplusChannelIsClosedWhenItsCallsHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{
			DialOptions: serveMemory(t, &echo{}), StreamsPerConnection: 10, IdleTimeout: time.Minute,
		})
		var ends []context.CancelFunc
		for range 30 {
			ctx, cancel := context.WithCancel(t.Context())
			ends = append(ends, cancel)
			hold(ctx, t, p)
		}
		open := len(p.Stats().Channels)
		if open < 3 || open > 5 {
			t.Fatalf("%d channels for 30 calls of 10 each", open)
		}
		for _, end := range ends[2:] {
			end()
		}
		time.Sleep(61 * time.Second) // of which the first minute has seen 30
		if n := len(p.Stats().Channels); n != open {
			t.Errorf("%d channels at once", n)
		}
		time.Sleep(time.Minute)
		s := p.Stats()
		if len(s.Channels) != 1 || s.InFlight != 2 || s.Channels[0].Retiring {
			t.Errorf("for two calls: %+v", s)
		}
		ends[0]()
		ends[1]()
		time.Sleep(2 * time.Minute)
		s = p.Stats()
		if len(s.Channels) != 1 || s.Closed != s.Opened-1 || s.Channels[0].State != "IDLE" || s.Channels[0].Connections != 0 {
			t.Errorf("without calls: %+v", s)
		}
		if err := unary(t.Context(), p); err != nil {
			t.Error(err)
		}
	})
}

func TestAChannelThatRetiresIsTakenBackWhenItIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{
			DialOptions: serveMemory(t, &echo{}), StreamsPerConnection: 10, MinChannels: 1, MaxChannels: 2, IdleTimeout: time.Minute,
		})
		var ends []context.CancelFunc
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			ends = append(ends, cancel)
			hold(ctx, t, p)
		}
		for i, end := range ends {
			if i != 0 && i != 1 && i != 19 { // the last is on the other
				end()
			}
		}
		time.Sleep(2*time.Minute + time.Second)
		for range 5 {
			if err := unary(t.Context(), p); err != nil {
				t.Error(err)
			}
		}
		before := p.Stats()
		if s := before; len(s.Channels) != 2 || s.Channels[0].Retiring || !s.Channels[1].Retiring || s.Channels[1].Calls > 10 {
			t.Fatalf("%+v", s)
		}
		for range 17 {
			hold(t.Context(), t, p)
		}
		if s := p.Stats(); s.Opened != 2 || len(s.Channels) != 2 || s.Channels[0].Retiring || s.Channels[1].Retiring || s.Waits != before.Waits {
			t.Errorf("%+v", s)
		}
	})
}
