// Package listen serves an http.Handler at one address: HTTP/1.1 and HTTP/2
// over TCP, with or without TLS, and HTTP/3 over QUIC on the UDP port of the
// same number.
//
// It is net/http's server and quic-go's with what a public address needs around
// them: certificates that are read again, one ring of session ticket keys for
// TCP and QUIC, bounds on connections that answer clearly, timeouts that never
// cut a stream, priorities, a greatest age of a connection, and a way to go
// that cuts nobody off.
package listen
