// Package observe turns what the server's rooms report into metrics in the
// Prometheus format, and into spans for an OpenTelemetry collector ([Tracing]).
//
// [Metrics] counts what is told to it, and asks its [Sources] for the rest
// when it is scraped. Names begin with fairlead_ and end in what there is, as
// fairlead_sessions does, or in its base unit, seconds or bytes; those of what only
// rises end in _total. Labels have few values: the pattern of a route or of topics,
// never a path, a topic's name or a stream's id.
//
// Who falls behind is seen in fairlead_topic_lag_events, the sum over readers, and
// fairlead_topic_lag_max_events, of the one furthest behind, both by the pattern of
// the topic; for whom bytes wait, in fairlead_session_buffered_bytes and
// fairlead_session_unsent_bytes by transport; what readers have missed, in
// fairlead_topic_events_skipped_total and fairlead_topic_gaps_total as soon as they
// are told, while fairlead_events_skipped_total and fairlead_gaps_total come at the
// end of a session. /connections lists the readers, those first that lag the most.
//
// The durations of streams are not in the histogram of requests, where they
// would hide what it shows; a stream's start is in
// fairlead_http_first_byte_seconds, like any other response's.
package observe
