package rpc

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/fairlead-edge/fairlead"
)

const (
	// domain is that of ErrorInfo.
	domain = "fairlead"
	// pushback is the trailer that says when a call may be tried again (gRPC retry
	// design, A6).
	pushback = "Grpc-Retry-Pushback-Ms"
	// cursorTrailer says where a stream that ended as it should stands.
	cursorTrailer = "Fairlead-Cursor"
)

// toStatus returns err as a call ends with it: by the table of codes, with details.
// facts go into ErrorInfo. What is no error of Fairlead's says nothing of itself.
func toStatus(err error, facts map[string]string) *connect.Error {
	if status, ok := errors.AsType[*connect.Error](err); ok {
		if len(facts) > 0 && len(status.Details()) == 0 { // connect-go's own, which knows nothing of ours
			explain(status, status.Code().String(), facts)
		}
		return status
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = fairlead.Errorf(fairlead.DeadlineExceeded, "the call's deadline has passed")
	case errors.Is(err, context.Canceled):
		err = fairlead.Errorf(fairlead.Cancelled, "the call was cancelled")
	}
	e := fairlead.AsError(err)
	code := connect.Code(e.Code.GRPC()) //nolint:gosec // of a table
	if b, ok := errors.AsType[*broken](err); ok {
		e = b.why
	}
	status := connect.NewError(code, errors.New(short(e.Message)))
	known := map[string]string{"cursor": string(e.Cursor)}
	maps.Copy(known, facts)
	explain(status, string(e.Code), known)
	if e.RetryAfter > 0 {
		if d, err := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)}); err == nil {
			status.AddDetail(d)
		}
		status.Meta().Set(pushback, strconv.FormatInt(max(1, e.RetryAfter.Milliseconds()), 10))
		status.Meta().Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	return status
}

// explain adds google.rpc.ErrorInfo.
func explain(status *connect.Error, reason string, facts map[string]string) {
	maps.DeleteFunc(facts, func(_, fact string) bool { return fact == "" || len(fact) > maxFact })
	info := &errdetails.ErrorInfo{Reason: strings.ToUpper(reason), Domain: domain, Metadata: facts}
	if d, err := connect.NewErrorDetail(info); err == nil {
		status.AddDetail(d)
	}
}

// broken is the end of a topic whose source broke, for which ErrorInfo has the
// source's own code and words.
type broken struct{ why *fairlead.Error }

// Error is the source's.
func (b *broken) Error() string { return b.why.Error() }

// Unwrap returns what it is on every transport.
func (*broken) Unwrap() error { return errBroken }

var errBroken = fairlead.Errorf(fairlead.Fault, "the source of the topic broke")

// The end of a call goes into a header's block, and may repeat what the client sent.
const (
	maxText = 1024 // bytes of a message
	maxFact = 255  // of a fact: a topic's name is not longer
)

// short returns the beginning of a message that is too long.
func short(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + " …"
}
