// Package rpc serves the topics of a [deliver.Handler] over gRPC, gRPC-Web and
// Connect: the service fairlead.v1.Topics of proto/fairlead/v1/topics.proto. gRPC
// takes HTTP/2, with or without TLS, or HTTP/3; gRPC-Web and Connect take HTTP/1.1
// as well, but for Session, which needs both directions at once.
//
// A call that reads topics is a session like those of the other transports: the
// same cursors, listed and drained with them. It is a place in a log and no queue: a
// client that does not read holds at most 32 events of it here, and what it has yet
// to be given stays in the topic.
//
// # How a stream ends
//
//	the topic ended                  OK, with the trailer fairlead-cursor
//	its source broke, or it was      DATA_LOSS
//	  removed
//	a gap, and fail_on_gap           OUT_OF_RANGE, with after, earliest, skipped
//	the reader fell behind, and      RESOURCE_EXHAUSTED
//	  the topic has on_lag: close
//	the server goes away, or the     UNAVAILABLE, with RetryInfo
//	  stream is too old
//	the client's deadline passed     DEADLINE_EXCEEDED
//
// Each error has google.rpc.ErrorInfo of the domain "fairlead", with the code as its
// reason and in its metadata the cursor to go on from; google.rpc.RetryInfo and the
// trailer grpc-retry-pushback-ms say when. A Session is first told to go, with its
// cursors, by a message. It ends with OK when its client has said all and all that it
// subscribed to has ended; from then on nothing waits to be acknowledged.
//
// # Health and reflection
//
// grpc.health.v1 (Check) and grpc.reflection (v1, v1alpha) answer for
// fairlead.v1.Topics only. A server that proxies services of its own leaves those
// their health and reflection by asking [Handler.Own].
package rpc
