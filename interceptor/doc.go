// Package interceptor has what belongs around the calls of any service of
// connect-go, gRPC, gRPC-Web and Connect alike: recovery, logging, metrics and
// tracing. Each is a [connect.Interceptor] of its own, for handlers and for
// clients, for unary calls and for all three kinds of stream, and may be used
// without the others.
//
// The first of connect.WithInterceptors is the outermost. This order lets the
// records of a call carry its span, and lets all of them see a panic as what
// the caller sees, code internal:
//
//	connect.WithInterceptors(tracing, metrics, logging, recovery)
//
// What connect-go refuses before it calls a handler reaches no interceptor: an
// unknown procedure, an unknown content type, and a unary request that cannot
// be read. Procedures are therefore those that the program serves or calls, and
// with the 17 codes they make a bounded set of labels.
//
// Nothing here keeps or writes a message or metadata.
package interceptor
