// Package fanout sends the same events to many connections, and holds many that
// are idle, for as little CPU and memory as it can.
//
// A [Session] is what one connection carries: it is asked for what to send when
// it has said that there is something ([Conn.Wake]), and told what its client
// sent. It has no queue and no goroutine of its own: what it is to send it
// pulls, when the connection can take it, from wherever it stands.
//
// Two ways lead to a connection. An [Engine] takes the descriptor of a TCP
// connection after net/http's handshake, from then on a few hundred bytes, and
// serves thousands of them from one goroutine for each CPU (Linux). [Serve]
// serves one connection of any kind, TLS, a stream of HTTP/2 or 3, from the
// goroutine that calls it. A session does not see the difference.
package fanout
