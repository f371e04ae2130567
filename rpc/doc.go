// Package rpc serves the topics of a [deliver.Handler] over gRPC, gRPC-Web and
// Connect: the service fairlead.v1.Topics of proto/fairlead/v1/topics.proto. gRPC
// takes HTTP/2, with or without TLS, or HTTP/3; gRPC-Web and Connect take HTTP/1.1
// as well, but for Session, which needs both directions at once.
//
// A call that reads topics is a session like those of the other transports: the
// same cursors, listed and drained with them. It is a place in a log and no queue: a
// client that does not read holds at most 32 events of it here, and what it has yet
// to be given stays in the topic. When it takes nothing for Config.WriteTimeout its
// stream is reset; a message may take longer, as long as it moves. A silent stream
// sends a message that holds nothing new after Config.Heartbeat, so that a client
// that is gone is found over HTTP/1.1, too, and a client can tell silence from loss.
//
// # How a stream ends
//
//	the topic ended                  OK, with the trailer fairlead-cursor
//	its source broke, or it was      DATA_LOSS
//	  removed
//	there is no such topic           NOT_FOUND
//	there is no such method, or      UNIMPLEMENTED
//	  this version of HTTP does not do
//	a gap, and fail_on_gap           OUT_OF_RANGE, with after, earliest, skipped
//	the reader fell behind, and      RESOURCE_EXHAUSTED
//	  the topic has on_lag: close
//	the server goes away, or the     UNAVAILABLE, with RetryInfo
//	  stream is too old
//	the client's deadline passed     DEADLINE_EXCEEDED
//	a message of the client's        DEADLINE_EXCEEDED, with the reason REQUEST_TIMEOUT
//	  stopped coming
//	the client left                  CANCELED
//	nothing was taken for too long   the stream is reset
//
// Each error has google.rpc.ErrorInfo of the domain "fairlead", with the code as its
// reason and in its metadata the topic and the cursor to go on from; google.rpc.RetryInfo
// and the trailer grpc-retry-pushback-ms say when. What connect-go itself refuses, such
// as a message over Config.MaxMessage, has no details.
//
// A Session is first told to go, with its cursors, by a message: when the server
// drains it then ends at once, when it grows old five seconds later, in which its
// requests are answered and no event follows the cursors. Requests are
// answered in their order; what a topic gives comes after the answer to its
// subscription, and none of it after the answer to its end. While 64 answers wait to
// be taken, nothing more is received. A client that has said all may go on reading:
// the call ends with OK when all that it subscribed to has ended, at once when that is
// nothing, and from then on nothing waits to be acknowledged.
//
// An Upload reads a message when the one before is stored, so that a topic that waits
// for its reader slows who uploads. It is no session: [Handler.SetServing] ends it, as it
// does calls of reflection and of Watch.
//
// # Health and reflection
//
// grpc.health.v1 (Check, List, Watch) answers for fairlead.v1.Topics and for the server
// as a whole, and grpc.reflection (v1, v1alpha) shows the files of that service, of the
// details of its errors and of health, and nothing else of the process. A server that
// proxies services of its own leaves those their health and reflection by asking
// [Handler.Own].
package rpc
