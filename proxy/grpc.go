package proxy

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// A gRPC call is a POST whose messages pass unread. What concerns a proxy is that
// its status stands in the trailers, with HTTP's always 200, and that its deadline
// stands in a header (gRPC over HTTP/2).

const (
	grpcType    = "application/grpc"
	grpcWebType = "application/grpc-web"
	grpcStatus  = "Grpc-Status"
)

// callType returns the media type of a call of gRPC or gRPC-Web, which its answer has
// too, since a client may accept that of its own codec only; "" of another request.
func callType(r *http.Request) string {
	values := r.Header["Content-Type"]
	if r.Method != http.MethodPost || len(values) != 1 || !strings.HasPrefix(values[0], grpcType) {
		return ""
	}
	kind, _, _ := strings.Cut(values[0], ";")
	kind = strings.TrimRight(kind, " \t")
	protocol, codec, _ := strings.Cut(kind, "+")
	if protocol != grpcType && protocol != grpcWebType && protocol != grpcWebType+"-text" || strings.ContainsAny(codec, " \t,") {
		return ""
	}
	return kind
}

// isGRPC reports whether the request is a call of gRPC or gRPC-Web.
func isGRPC(r *http.Request) bool { return callType(r) != "" }

// isPlainCall reports whether the request is a call of gRPC, whose status stands in
// HTTP's trailers, and not of gRPC-Web.
func isPlainCall(r *http.Request) bool {
	kind := callType(r)
	return kind != "" && !strings.HasPrefix(kind, grpcWebType)
}

// errDeadline is the cause of a call that has reached its client's deadline.
var errDeadline = fairlead.Errorf(fairlead.DeadlineExceeded, "the call's deadline has passed")

// admitCall notes the deadline that the client of a call gave it; stop ends it.
func (x *exchange) admitCall() (stop context.CancelFunc, err error) {
	sent := x.in.Header["Grpc-Timeout"]
	if len(sent) == 0 || !isGRPC(x.in) {
		return func() {}, nil
	}
	d, ok := parseTimeout(sent[0])
	if !ok || len(sent) > 1 {
		return func() {}, fairlead.Errorf(fairlead.InvalidArgument, "grpc-timeout is up to eight digits and one of H, M, S, m, u and n")
	}
	if strings.HasPrefix(callType(x.in), grpcWebType) {
		x.due, stop = x.webDeadline(d)
	} else {
		x.due, stop = context.WithTimeoutCause(x.in.Context(), d, errDeadline)
	}
	return stop, nil
}

// webGrace is how much longer than its deadline a call of gRPC-Web may take whose
// response has begun: its upstream, which knows the deadline, can end it with a
// status, while we could only reset it, our trailers' place being within the body.
const webGrace = 500 * time.Millisecond

// webDeadline returns the context of a call of gRPC-Web that is to end within d.
func (x *exchange) webDeadline(d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(x.in.Context())
	due := time.AfterFunc(d, func() {
		if !x.begun.Load() {
			cancel(errDeadline)
		}
	})
	late := time.AfterFunc(d+webGrace, func() { cancel(errDeadline) })
	return deadline{ctx, time.Now().Add(d)}, func() {
		due.Stop()
		late.Stop()
		cancel(nil)
	}
}

// deadline is a context that tells of a deadline, and does not keep it itself.
type deadline struct {
	context.Context //nolint:containedctx // it is one

	at time.Time
}

// Deadline implements [context.Context].
func (d deadline) Deadline() (time.Time, bool) { return d.at, true }

// parseTimeout reads the value of grpc-timeout.
func parseTimeout(s string) (time.Duration, bool) {
	units := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
	}
	const digits = 8
	if len(s) < 2 || len(s) > digits+1 {
		return 0, false
	}
	unit, known := units[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil || !known {
		return 0, false
	}
	const longest = 1 << 62       // ns: what is longer is for ever
	if n > uint64(longest/unit) { //nolint:gosec // positive
		return longest, true
	}
	return time.Duration(n) * unit, true //nolint:gosec // bounded above
}

// answerGRPC answers a call with the status that the table of codes has for the
// error, or gRPC for a reset of its stream: a response of headers only.
func answerGRPC(w http.ResponseWriter, r *http.Request, err error) {
	h := w.Header()
	h.Set("Content-Type", callType(r))
	h.Set("Cache-Control", "no-store")
	setStatus(h, "", err)
	w.WriteHeader(http.StatusOK)
}

// setStatus sets the fields of a status; the prefix makes trailers of them.
func setStatus(h http.Header, prefix string, err error) {
	e := fairlead.AsError(err)
	code := e.Code.GRPC()
	if reset, ok := errors.AsType[*resetError](err); ok {
		code = reset.grpc()
	}
	h.Set(prefix+grpcStatus, strconv.Itoa(code))
	h.Set(prefix+"Grpc-Message", encodeMessage(e.Message))
	if e.RetryAfter > 0 {
		h.Set(prefix+"Grpc-Retry-Pushback-Ms", strconv.FormatInt(max(1, e.RetryAfter.Milliseconds()), 10))
		h.Set(prefix+"Grpc-Status-Details-Bin", retryInfo(e))
	}
}

// encodeMessage percent-encodes what is not printable ASCII, and the sign itself.
func encodeMessage(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// endCall ends the response to a call whose upstream broke off, or whose deadline has
// passed, with trailers that say so: a reset would leave the client guessing. Those of
// the upstream, of a body that has not the length that its header says, are dropped.
// It reports whether that is possible: gRPC-Web has its trailers in the body, which may
// have been left within a message.
func (d *download) endCall() bool {
	x := d.x
	code := fairlead.AsError(x.err).Code
	if x.status == 0 || x.in.ProtoMajor < 2 || code == fairlead.Cancelled || !isPlainCall(x.in) {
		return false
	}
	var why error = errDeadline
	if code != fairlead.DeadlineExceeded {
		why = fairlead.Errorf(fairlead.Unavailable, "the upstream broke off")
		if reset := resetOf(x.err); reset != nil {
			why = reset
		}
	}
	clear(d.res.Trailer)
	setStatus(x.w.Header(), http.TrailerPrefix, why)
	x.broken = false // for it has an end
	return true
}
