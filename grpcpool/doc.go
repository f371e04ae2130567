// Package grpcpool makes several grpc-go channels to one target a single
// [grpc.ClientConnInterface], a [Pool], that any generated client takes.
//
//	pool, err := grpcpool.New("dns:///orders.internal:8443", grpcpool.Config{
//		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(nil))},
//	})
//	if err != nil {
//		return err
//	}
//	defer pool.Close()
//	orders := ordersv1.NewOrdersClient(pool) // for the whole program
//
// # What goes wrong without
//
// A channel of grpc-go has one HTTP/2 connection for each address. Its peer
// says how many calls it may carry at once, 100 at most servers; the next one
// waits inside grpc-go until another ends, and no counter, log or error says
// so: a hundred subscribers, and a unary call of 2 ms hangs. A Pool opens
// another channel before that, and where it may open no more, calls wait in a
// queue that is bounded, first come first served, and counted.
//
// A channel made for each call connects for each call. A Pool is made when the
// program starts and shared; who makes one after another for the same target
// is warned.
//
// A channel asks DNS again only when a connection breaks: a backend that is
// added gets no call until another is lost. And by default it uses the first
// address that answers.
//
// A client that pings more often than its server allows loses the connection
// with all its calls, for "too_many_pings". One that never pings waits for a
// dead peer until TCP gives up.
//
// # What differs from grpc.NewClient
//
//   - Each call goes to the channel with the fewest calls in flight, on it to
//     the next of its connections (round robin over all addresses), and not to
//     one that carries [Config.StreamsPerConnection] already, unless it is sent
//     again after a connection was lost. A channel that cannot connect gets a
//     call only if none can. A stream counts until it ends by grpc-go's own
//     rules.
//   - Channels begin to connect in [New], not with the first call.
//   - Addresses are asked for every [Config.Refresh], as far as the resolver
//     lets itself be asked: grpc-go's own for DNS not before 30 s have passed.
//   - Channels without which there was room enough for [Config.IdleTimeout] are
//     closed when their calls have ended; the connections of the others after
//     as long without any call.
//   - [Pool.Stats] shows channels, connections, calls, waits and the reason of
//     the last failure.
//   - [Pool.Close] returns when everything has ended.
//
// What DialOptions set counts before what the pool sets, a service config that
// the resolver finds (in DNS: a TXT record) before both; [grpc.WithDisableServiceConfig]
// has it ignored. If it names another balancing policy, a channel counts as
// one connection. The policy of the pool is registered as
// fairlead_round_robin.
//
// # Keepalive in pairs
//
// Both ends must agree, as [Keepalive.Client] and [Keepalive.Server] do:
//
//	preset             the client pings              the server allows one in
//	KeepaliveDefault   after 6 min, during calls     5 min, during calls (grpc-go's default)
//	KeepaliveInternal  after 30 s, always            15 s, always
//	KeepaliveMobile    after 60 s, during calls      30 s, during calls
//
// A peer that does not answer is given up after 20 s, with KeepaliveInternal
// after 10 s. A client may always be the slower one: KeepaliveDefault suits each of
// these servers.
//
// # Retries
//
// grpc-go sends again by itself what no server has begun to process: what never
// left the client as often as it takes, what a server refused once.
// [RetrySafe] adds calls that ended with UNAVAILABLE; name the methods for which
// that is safe.
package grpcpool
