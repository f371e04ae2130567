package client

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/fairlead-edge/fairlead"
)

const (
	// errorDomain is that of Fairlead's own reasons.
	errorDomain = "fairlead"
	// pushbackTrailer says in how many milliseconds to try again (gRFC A6).
	pushbackTrailer = "Grpc-Retry-Pushback-Ms"
	// cursorTrailer says where a topic ended.
	cursorTrailer = "Fairlead-Cursor"
)

// ended makes of a call's status what it says: the topic's end, its fault, or why
// the connection ended.
func (s *grpcSession) ended() (Item, error) {
	err := s.stream.Err()
	if err == nil {
		return Item{Kind: KindEnd, Cursor: fairlead.Cursor(s.stream.ResponseTrailer().Get(cursorTrailer))}, nil
	}
	if e, ok := asError(err); ok {
		return Item{}, e // the answer was none of gRPC
	}
	status, ok := errors.AsType[*connect.Error](err)
	switch {
	case !ok:
		return Item{}, err
	case !connect.IsWireError(err):
		return Item{}, s.reader.unread(status)
	case status.Code() == connect.CodeCanceled:
		return Item{}, err // by who serves the connection: the topic's source is told as a fault
	}
	e := errorOf(status)
	if status.Code() == connect.CodeUnimplemented {
		e.Message = "the server says " + strconv.Quote(e.Message) + ": it has no topics over gRPC; use another transport"
	}
	if e.Cursor != "" {
		s.reader.move(e.Cursor)
	}
	if status.Code() == connect.CodeDataLoss {
		return Item{Kind: KindFault, Cursor: e.Cursor, Fault: e}, nil
	}
	return Item{}, e
}

// unread says why a message could not be read, if it was for what it is; else it is
// the connection's error.
func (r *reader) unread(status *connect.Error) error {
	switch {
	// A stream that was reset for going too fast has this code, too.
	case status.Code() == connect.CodeResourceExhausted && strings.Contains(status.Message(), "larger than configured max"):
		return fairlead.Errorf(fairlead.TooLarge, "the server sends a message of more than %d bytes; Config.MaxEvent bounds it", r.cfg.MaxEvent)
	case status.Code() == connect.CodeInvalidArgument:
		return fairlead.Errorf(fairlead.NotAcceptable, "the server sends what is not a topic's message: %s", status.Message())
	}
	return status
}

// errorOf returns what a status and its details say.
func errorOf(status *connect.Error) *fairlead.Error {
	e := fairlead.Errorf(codeOfStatus(status.Code()), "%s", cmp.Or(status.Message(), "the server says no more than "+status.Code().String()))
	if ms, err := strconv.ParseInt(status.Meta().Get(pushbackTrailer), 10, 64); err == nil {
		e.RetryAfter = milliseconds(ms)
	}
	for _, detail := range status.Details() {
		value, err := detail.Value()
		if err != nil {
			continue // of a type that is not known here
		}
		switch v := value.(type) {
		case *errdetails.RetryInfo:
			if d := v.GetRetryDelay(); d.IsValid() {
				e.RetryAfter = bounded(max(e.RetryAfter, d.AsDuration()))
			}
		case *errdetails.ErrorInfo:
			if v.GetDomain() != errorDomain {
				continue
			}
			e.Cursor = fairlead.Cursor(v.GetMetadata()["cursor"])
			reason := fairlead.Code(strings.ToLower(v.GetReason()))
			// One of the source that broke is another's than the status'.
			if slices.Contains(fairlead.Codes(), reason) && (reason.GRPC() == int(status.Code()) || status.Code() == connect.CodeDataLoss) {
				e.Code = reason
			}
		}
	}
	return e
}

// codeOfStatus chooses a code for a status without a reason.
func codeOfStatus(status connect.Code) fairlead.Code {
	switch status { // those of which the table has several, or none
	case connect.CodeInvalidArgument:
		return fairlead.InvalidArgument
	case connect.CodeNotFound:
		return fairlead.NotFound
	case connect.CodeDeadlineExceeded:
		return fairlead.DeadlineExceeded
	case connect.CodeFailedPrecondition, connect.CodeAlreadyExists:
		return fairlead.Conflict
	case connect.CodeResourceExhausted:
		return fairlead.TooSlow
	case connect.CodeUnavailable, connect.CodeAborted:
		return fairlead.Unavailable
	case connect.CodeUnimplemented:
		return fairlead.NotAcceptable
	}
	for _, c := range fairlead.Codes() {
		if c.GRPC() == int(status) {
			return c
		}
	}
	return fairlead.Internal
}
