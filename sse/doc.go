// Package sse speaks text/event-stream, the format of Server-Sent Events
// (WHATWG HTML §9.2), at both ends of a connection and between them. It needs
// nothing but net/http.
//
// A server sends. [NewWriter] turns the response to a request into a stream on
// which each event is one write, flushed, with a deadline of its own. What
// usually goes wrong with streams in net/http is taken care of: the server's
// WriteTimeout does not cut them, wrapped ResponseWriters are flushed through,
// proxies are told not to buffer, and a reader that has stopped reading is
// found. Who writes the same event to many readers encodes it once, with
// [Append], and puts a line of the reader's own before it, with [AppendIDLine].
//
// A client reads. [Client] does what a browser's EventSource does, and what one
// has to add to it: it reconnects after the last id, backs off with a random
// spread until a connection has proved stable, notices that nothing arrives any
// more, and tells a stream that is over from one that broke. Below it,
// [Decoder] makes events of any io.Reader.
//
// A proxy or recorder stands between. [Splitter] cuts a stream into whole
// blocks, byte for byte as they came, and says of each what it will do to a
// reader. It never waits for more bytes than make a block.
//
// What an event holds is bounded, 1 MiB unless told otherwise, and what arrives
// is never trusted: too much of it is [ErrTooLarge]. Nothing in this package
// starts a goroutine.
package sse
