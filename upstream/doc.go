// Package upstream makes the endpoints of one upstream a single
// [http.RoundTripper], a [Pool], that any program can give to an http.Client
// or a reverse proxy.
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
// Requests take the endpoints in turn. One that could not be connected to has
// seen nothing of the request, so the next is tried, whatever the method, as
// long as the request's body was not touched. Nothing else is tried again.
//
// The connections differ from those of [http.DefaultTransport] in what long
// streams and a proxy's load need; each number stands with its reason in
// transport.go.
package upstream
