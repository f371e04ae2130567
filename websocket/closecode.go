package websocket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// The registered close codes (RFC 6455 §7.4.1 and its IANA registry). 3000 to
// 3999 are for registered libraries, 4000 to 4999 for private use.
const (
	NormalClosure   = 1000
	GoingAway       = 1001
	ProtocolFault   = 1002 // a violation of RFC 6455
	UnsupportedData = 1003
	NoStatus        = 1005 // never sent: the close frame had no code
	AbnormalClosure = 1006 // never sent: the stream ended without a close frame
	InvalidPayload  = 1007 // text that is not UTF-8, or data that cannot be inflated
	PolicyViolation = 1008
	MessageTooBig   = 1009
	InternalError   = 1011
	ServiceRestart  = 1012
	TryAgainLater   = 1013
	BadGateway      = 1014
)

// maxReason is the room for a reason in a close frame, in bytes: a control
// frame's 125 less the code (RFC 6455 §5.5).
const maxReason = ws.MaxControlFramePayloadSize - 2

// CloseError is the end of a connection that the peer asked for.
type CloseError struct {
	// Code is the peer's close code, or [NoStatus] when it gave none.
	Code int
	// Reason is the peer's reason; may be empty, always valid UTF-8.
	Reason string
}

// Error returns the code and the reason.
func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("websocket: closed by the peer with %d", e.Code)
	}
	return fmt.Sprintf("websocket: closed by the peer with %d: %s", e.Code, e.Reason)
}

// ProtocolError is a message or frame that breaks a rule. The peer was sent
// Code and Reason in a close frame.
type ProtocolError struct {
	// Code is the close code for the violation: [ProtocolFault],
	// [InvalidPayload] or [MessageTooBig].
	Code int
	// Reason names the rule.
	Reason string
}

// Error returns the code and the rule.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("websocket: closed with %d: %s", e.Code, e.Reason)
}

// CloseCode returns the close code that err, from [Conn.Read], stands for: that
// of a [*CloseError] or [*ProtocolError], else [AbnormalClosure].
func CloseCode(err error) int {
	if e, ok := errors.AsType[*CloseError](err); ok {
		return e.Code
	}
	if e, ok := errors.AsType[*ProtocolError](err); ok {
		return e.Code
	}
	return AbnormalClosure
}

// ValidCloseCode reports whether code may stand in a close frame: 1000 to 1003,
// 1007 to 1014 and 3000 to 4999 (RFC 6455 §7.4 and its registry).
func ValidCloseCode(code int) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	default:
		return code >= 3000 && code <= 4999
	}
}

// closePayload encodes a close frame's payload: empty for [NoStatus]; the
// reason is made valid and cut at a rune border to fit.
func closePayload(code int, reason string) []byte {
	if code == NoStatus {
		return nil
	}
	return ws.NewCloseFrameBody(ws.StatusCode(code), cutReason(reason)) //nolint:gosec // 1000..4999, checked by the caller
}

func cutReason(s string) string {
	valid := make([]byte, 0, min(len(s), maxReason))
	for _, r := range s {
		if len(valid)+utf8.RuneLen(r) > maxReason {
			break
		}
		valid = utf8.AppendRune(valid, r)
	}
	return string(valid)
}

// parseClose decodes a close frame's payload (RFC 6455 §5.5.1, §7.1.5).
func parseClose(p []byte) (*CloseError, *ProtocolError) {
	if len(p) == 0 {
		return &CloseError{Code: NoStatus}, nil
	}
	if len(p) == 1 {
		return nil, &ProtocolError{ProtocolFault, "a close frame with half a code"}
	}
	code := int(binary.BigEndian.Uint16(p))
	if !ValidCloseCode(code) {
		return nil, &ProtocolError{ProtocolFault, fmt.Sprintf("close code %d is not valid on the wire", code)}
	}
	if !utf8.Valid(p[2:]) {
		return nil, &ProtocolError{InvalidPayload, "a close reason that is not UTF-8"}
	}
	return &CloseError{Code: code, Reason: string(p[2:])}, nil
}
