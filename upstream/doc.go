// Package upstream makes the endpoints of one upstream a single
// [http.RoundTripper], a [Pool], that any program can give to an http.Client
// or a reverse proxy. It differs from an [http.Transport] in what one sees and
// decides: how many connections there may be and who waits, which endpoint
// gets a request, when a request is sent again, and why each connection was
// opened and closed.
//
//	pool, err := upstream.New(upstream.Config{Endpoints: []string{"http://127.0.0.1:9000"}})
//	if err != nil {
//		return err
//	}
//	defer pool.Close()
//	client := &http.Client{Transport: pool}
//	res, err := client.Get("http://any/orders") // the host is replaced by the endpoint's
//
// An endpoint is where a copy of the upstream listens:
//
//	http://host:port/base    HTTP/1.1
//	https://host:port/base   HTTP/1.1 or 2, as the handshake negotiates
//	h2c://host:port/base     HTTP/2 without TLS
//	unix:/path               HTTP/1.1 on a Unix socket
//
// Endpoints that come and go are named by where they are written down, which
// is read again and again; see [ParseSource]:
//
//	dns+http://name:port/base    all addresses of a name (also dns+https, dns+h2c)
//	srv+http://_http._tcp.name   the targets of an SRV record (also srv+https, srv+h2c)
//	file:/path                   a file of one endpoint a line
//
// # What happens to a request
//
// [Balance] chooses among the endpoints that are well: by [Health], which asks
// them, and by [Outliers], which looks at their answers. There it takes a
// connection: over HTTP/1.1 the idle one used last, over HTTP/2 the one with
// the fewest streams. If none is free it waits in a queue, first come first
// served, for whichever comes first, a connection that is given back or a new
// one; what is dialed belongs to the pool, not to the request. Who waits in
// vain is refused with the code Overloaded, which stands for 503.
//
// HTTP/2 carries no Upgrade: to an https endpoint such a request goes over a
// connection that negotiates HTTP/1.1, which is kept for further ones, and so it
// does to h2c, whose port must then speak HTTP/1.1 too, as that of most servers
// does. Each counts for Connections.Max until it is closed.
//
// A connection that its endpoint may be about to close is not used again: the
// pool learns how long each endpoint keeps idle ones, stays below, and looks
// before it writes. A request that met a close nevertheless is sent again if
// that cannot make it happen twice; see [Retry].
//
// [Pool.Snapshot], [Pool.Connections] and [Pool.Events] show all of it. How to
// size a pool, and what each number means, is in docs/pools.md.
package upstream
