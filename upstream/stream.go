package upstream

import (
	"context"
	"errors"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"time"
)

// stream watches an attempt over HTTP/2. When the peer lowers its limit of
// streams, net/http lets those that have a reservation wait without end.
type stream struct {
	timer    *time.Timer // until the header is written
	answered atomic.Bool // a header came, if only an interim one
}

// errNoStream is the cause of an attempt whose header could not be written in
// the time for which a request may wait. It is not certain that it was not
// written in the same moment.
var errNoStream = &unavailable{reason: "too_late", text: "the peer allowed no further HTTP/2 stream in time"}

// watchStream returns the context for an attempt that is to begin within limit.
func watchStream(ctx context.Context, limit time.Duration, cancel context.CancelCauseFunc) (context.Context, *stream) {
	s := &stream{}
	s.timer = time.AfterFunc(limit, func() { cancel(errNoStream) })
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders:         func() { s.timer.Stop() },
		GotFirstResponseByte: func() { s.answered.Store(true) },
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			s.answered.Store(true)
			return nil
		},
	}), s
}

// errBroke is the cause of an attempt that leave has ended.
var errBroke = errors.New("the stream broke before its answer")

// notice is how long RoundTrip has to notice that its stream broke. It waits for that
// alone and needs microseconds, unless the machine is busy.
const notice = 10 * time.Millisecond

// leave has RoundTrip return from a stream that broke before its header while its
// body goes on: net/http then waits for the Read of the body, which waits for the
// client, or for the end of the context. Its error is that of the stream all the same,
// if it has noticed that first. Of a stream that has a header this is the response's
// context too, and nothing tells an interim header from the last one.
func (s *stream) leave(cancel context.CancelCauseFunc) {
	time.AfterFunc(notice, func() {
		if !s.answered.Load() {
			cancel(errBroke) // of an attempt that is over, it ends nothing
		}
	})
}
