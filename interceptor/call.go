package interceptor

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
)

// Call is a call that is over; where it begins, its first six members are known.
type Call struct {
	Procedure string             // such as "/fairlead.v1.Topics/Publish"
	Protocol  string             // connect.ProtocolGRPC, ProtocolGRPCWeb or ProtocolConnect
	Peer      string             // address of the other end, where it is known
	Type      connect.StreamType // of messages, which way there are many
	Client    bool               // it was made here, and not served
	Began     time.Time

	Err      error // how it failed, with a text that may be the other end's; nil: it did not
	Took     time.Duration
	First    time.Duration // until the first message of the response; 0: there was none
	Sent     int64         // messages
	Received int64         // messages
	// SentBytes and ReceivedBytes are the sizes of those messages in protobuf's
	// encoding, without compression and framing; 0 unless they are asked for.
	SentBytes, ReceivedBytes int64
}

// Code returns the status as Connect writes it, such as "not_found"; "ok" of a
// call that did not fail.
func (c *Call) Code() string {
	if code := codeOf(c.Err); code != 0 {
		return code.String()
	}
	return "ok"
}

// codeOf is the code that the caller sees, 0 where there is no error.
func codeOf(err error) connect.Code {
	if err == nil || connect.IsNotModifiedError(err) { // a conditional GET has worked
		return 0
	}
	if coded, ok := errors.AsType[*connect.Error](err); ok {
		return coded.Code()
	}
	switch {
	case errors.Is(err, context.Canceled):
		return connect.CodeCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return connect.CodeDeadlineExceeded
	default:
		return connect.CodeUnknown
	}
}

// sizeOf is the size of a message in protobuf's encoding, 0 when it has none.
func sizeOf(message any) int64 {
	if m, ok := message.(proto.Message); ok {
		return int64(proto.Size(m))
	}
	return 0
}

var (
	errCutShort = connect.NewError(connect.CodeInternal, errors.New("a panic has ended the call"))
	errLeft     = connect.NewError(connect.CodeCanceled, errors.New("closed here before its end"))
)
