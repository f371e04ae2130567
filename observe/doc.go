// Package observe turns what the server's rooms report into metrics in the
// Prometheus format.
//
// [Metrics] counts what is told to it, and asks its [Sources] for the rest
// when it is scraped. Names begin with fairlead_ and end in a base unit.
// Labels have few values: the pattern of a route or of topics, never a path,
// a topic's name or a stream's id.
//
// The durations of streams are not in the histogram of requests, where they
// would hide what it shows; a stream's start is in
// fairlead_http_first_byte_seconds, like any other response's.
package observe
