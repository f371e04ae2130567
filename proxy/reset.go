package proxy

import (
	"errors"

	"github.com/fairlead-edge/fairlead"
)

// streamError has the fields of net/http's own type for a stream that broke, which
// errors.AsType copies into any such struct.
type streamError struct {
	StreamID uint32
	Code     uint32 // RFC 9113 §7
	Cause    error
}

func (e streamError) Error() string { return "stream error" }

// resetError is the upstream's reset of the request's stream. To all but gRPC it is
// what it wraps.
type resetError struct {
	code uint32
	why  *fairlead.Error
}

func (e *resetError) Error() string { return e.why.Error() }
func (e *resetError) Unwrap() error { return e.why }

// resetOf returns the reset by which err came about; nil: by none.
func resetOf(err error) *resetError {
	s, ok := errors.AsType[streamError](last(err))
	if !ok {
		return nil
	}
	what := "reset the stream"
	if s.Cause == nil || s.Cause.Error() != "received from peer" {
		what = "broke the rules of HTTP/2" // which net/http has found
	}
	name := "an unknown code"
	if int(s.Code) < len(resetNames) {
		name = resetNames[s.Code]
	}
	return &resetError{s.Code, fairlead.Errorf(fairlead.Unavailable, "the upstream %s: %s", what, name)}
}

// last returns the error of the last attempt, of a transport that makes several.
func last(err error) error {
	for {
		joined, ok := errors.AsType[interface {
			error
			Unwrap() []error
		}](err)
		if !ok {
			return err
		}
		all := joined.Unwrap()
		if len(all) == 0 {
			return err
		}
		err = all[len(all)-1]
	}
}

// resetNames are those of RFC 9113 §7.
var resetNames = []string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// grpc returns the status that gRPC has for the code ("Errors" of gRPC over HTTP/2).
func (e *resetError) grpc() int {
	switch e.code {
	case 7: // REFUSED_STREAM
		return fairlead.Unavailable.GRPC()
	case 8: // CANCEL
		return fairlead.Cancelled.GRPC()
	case 0xb: // ENHANCE_YOUR_CALM
		return fairlead.RateLimited.GRPC()
	case 0xc: // INADEQUATE_SECURITY
		return fairlead.PermissionDenied.GRPC()
	}
	return fairlead.Internal.GRPC()
}
