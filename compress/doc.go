// Package compress codes the responses of any http.Handler (RFC 9110 §8.4) by
// zstd, brotli or gzip, as the client accepts, and leaves streams flowing: what
// the handler flushes is on its way before Flush returns.
//
// It leaves alone what coding does not help or would break: small bodies, types
// that are compressed already, encrypted, opaque or not stated, responses that
// are coded, partial, or marked no-transform, upgrades and tunnels, and the
// responses to scripts of other sites (see [Config.CrossSite]). A client that
// does not say what it accepts gets no coding. One that refuses what is not
// coded (identity;q=0) gets a coding that it accepts for small bodies and for
// all stated types too; if it accepts none of ours, it gets the body as it is
// rather than a 406.
//
// A response that depends on what the client accepts says so (Vary). What spoke
// of its bytes goes: length, ranges and digests. Its ETag becomes weak, since its
// bytes are no longer those that the handler named. If-None-Match compares weak
// ones too, and the 304 names the one that the client has; If-Match does not
// (RFC 9110 §13.1.1): a client that updates only what it has read asks for that
// with Accept-Encoding: identity.
//
// A body that its handler does not complete, by a panic or by being shorter than
// its Content-Length, gets no end: the response is aborted.
//
// Coders hold memory, those of streams for as long as the stream lives. All of
// them take it from one [Budget]; a response that finds it used up is not coded.
package compress
