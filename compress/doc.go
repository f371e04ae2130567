// Package compress codes the responses of any http.Handler (RFC 9110 §8.4) by
// zstd, brotli or gzip, as the client accepts, and leaves streams flowing: what
// the handler flushes is on its way before Flush returns.
//
// It leaves alone what coding does not help or would break: small bodies, types
// that are compressed already, encrypted or opaque, responses that are coded,
// partial, or marked no-transform, and the responses to scripts of other sites,
// whose authors could measure them (BREACH). A response that depends on what the
// client accepts says so (Vary), and its ETag becomes weak, since its bytes are
// no longer those that the handler named.
//
// Coders hold memory, those of streams for as long as the stream lives. All of
// them take it from one [Budget]; a response that finds it used up is not coded.
package compress
