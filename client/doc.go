// Package client publishes to Fairlead's topics and reads them, over SSE,
// WebSocket, gRPC or long-poll, from the point where it left off.
//
// [Subscribe] is an iterator over what a reader sees. When the connection
// breaks, is drained or falls silent it connects again after a jittered,
// growing delay and goes on after the last item it yielded; the caller sees no
// more of it than a pause. What cannot be resumed is told as an item of
// [KindGap], never left out. It ends with the topic's end or fault, with an
// error that trying again would not mend, or when its context ends.
//
// Over SSE it reads any server's stream, not only Fairlead's. A HEAD request
// tells it first whether the URL is a topic's, of which it then asks for whole
// events, as the other transports have them; a URL with a parameter "format" is
// taken as it is. A response that Fairlead captured is resumed at the address its Content-Location names, so
// that the upstream is not called again.
//
// [Publish] sends one event, with an Idempotency-Key, so that repeating it
// after a broken connection cannot store it twice.
package client
