// Package topic holds the logs. A [Log] is a bounded append-only sequence of
// events; a [Reader] is a set of cursors into logs, and never a queue: it
// costs a slow reader nothing but its position to fall behind, and it is told
// about what it missed.
//
// A reader sees a strictly increasing sequence of event numbers per log. What
// it does not see is accounted for: either a [Gap] says that events left the
// retention before they were read, or they were passed over by the delivery
// policy of the topic and counted as skipped.
//
// A [Store] is a map of named logs, created by their first append and evicted
// when nothing in them is retained any more and nobody reads them.
//
// The package starts no goroutine and opens no socket. Expiry by age happens
// when a log is touched, and for idle topics when [Store.Sweep] is called.
// The wire formats of a new event are encoded once, by [Record.Frame], and
// shared by all of its readers; those of older events are not kept.
//
// A reader waits for itself, in [Reader.Next], or is one of very many that an
// engine serves: such a reader only wakes its engine, which polls it. Between
// the two an append costs a reader nothing but a look.
//
// Lock order: Store.mu, then Log.mu, then Log.subsMu, then Reader.mu. No lock
// is held while waiting, nor over a callback but [Waker], which must not block.
package topic
