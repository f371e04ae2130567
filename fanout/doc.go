// Package fanout sends the same events to many connections, and holds many that
// are idle, for as little CPU and memory as it can.
//
// A [Session] is what one connection carries. It says that it has something to
// send ([Conn.Wake]), is asked for it when the connection can take it, and is
// told what its client sent. It has no queue and no goroutine of its own: what it
// sends it pulls from wherever it stands, so that a client that reads slowly
// costs the others nothing, and what it has not read can still be passed over.
//
// Two ways lead to a connection. An [Engine] takes the descriptor of a TCP
// connection after net/http's handshake, of which a few hundred bytes remain, and
// serves thousands of them from one goroutine for each CPU (Linux). [Serve]
// serves one connection of any kind, be it TLS or a stream of HTTP/2 or 3, from
// the goroutine that calls it, with one more where the client is read from. A
// session does not see the difference.
//
// Both write what was given at once together, ask for a sign of life where nothing
// else was sent, and close the connection of a client that is gone, silent, or
// takes nothing, each with an error of its own ([ErrGone] and those beside it).
package fanout
