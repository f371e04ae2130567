// Package interceptor has what is usually around calls of gRPC, gRPC-Web and Connect,
// as interceptors of connect-go: each works alone, with any service, on a handler
// and, but for [Recovery], on a client.
//
//   - [Recovery] makes an error of a handler's panic, and tells who is to know.
//   - [Observe] tells a function of each call that is over, [Metrics] also of those that
//     begin: for metrics.
//   - [Logging] makes a record of each call that is over.
//   - [Tracing] makes a span of each call, by OpenTelemetry.
//
// They go into connect.WithInterceptors in this order, the first outermost:
//
//	connect.WithInterceptors(tracing, interceptor.Logging(...), interceptor.Observe(...), interceptor.Recovery(...))
//
// so that a panic is an error to all the others. None looks into a message or into
// metadata. A procedure that a server does not have never gets to an interceptor, so
// that [Call.Procedure] has as many values as the schema has methods. Neither does a
// unary request that cannot be read, or that ends before it has been.
package interceptor
