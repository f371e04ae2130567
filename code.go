package fairlead

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Code is a kind of error. One table gives each its HTTP status, WebSocket
// close code and gRPC code, so that the transports cannot drift apart.
type Code string

// The codes.
const (
	InvalidArgument    Code = "invalid_argument"    // the request is wrong as it stands
	Unauthenticated    Code = "unauthenticated"     // a token is needed
	PermissionDenied   Code = "permission_denied"   // a foreign Origin or Host, or publishing is off
	NotFound           Code = "not_found"           // no such topic, stream or path
	MethodNotAllowed   Code = "method_not_allowed"  // see Allow
	NotAcceptable      Code = "not_acceptable"      // none of the accepted media types is served
	UnsupportedMedia   Code = "unsupported_media"   // the body's media type cannot be read
	RequestTimeout     Code = "request_timeout"     // the request's body stopped coming
	Conflict           Code = "conflict"            // the topic is closed, or has its one reader
	OutOfRange         Code = "out_of_range"        // a gap, and the reader asked for failure
	TooLarge           Code = "too_large"           // a body, message or event over its limit
	HeaderTooLarge     Code = "header_too_large"    // a cursor or set of topics over its limit
	KeyReused          Code = "key_reused"          // an Idempotency-Key with another body
	RateLimited        Code = "rate_limited"        // this client is over its limit
	Overloaded         Code = "overloaded"          // the server is over its limit in total
	Draining           Code = "draining"            // the server is going away: come back later
	TooSlow            Code = "too_slow"            // the reader fell behind and asked not to skip
	Fault              Code = "fault"               // the source of a topic broke
	Cancelled          Code = "cancelled"           // somebody stopped it on purpose
	Unavailable        Code = "unavailable"         // no upstream could be reached
	DeadlineExceeded   Code = "deadline_exceeded"   // the upstream took too long
	Internal           Code = "internal"            // a bug
	MisdirectedRequest Code = "misdirected_request" // for another host
)

// row is one line of the table of codes.
type row struct {
	http  int
	close int
	grpc  int
	title string
}

// Close codes beyond those of RFC 6455 §7.4.1 are in its private range.
var table = map[Code]row{
	InvalidArgument:    {http.StatusBadRequest, 4400, 3, "The request is wrong"},
	Unauthenticated:    {http.StatusUnauthorized, 4401, 16, "A token is needed"},
	PermissionDenied:   {http.StatusForbidden, 4403, 7, "Not allowed"},
	NotFound:           {http.StatusNotFound, 4404, 5, "Not found"},
	MethodNotAllowed:   {http.StatusMethodNotAllowed, 4405, 12, "Method not allowed"},
	NotAcceptable:      {http.StatusNotAcceptable, 4406, 3, "No acceptable representation"},
	UnsupportedMedia:   {http.StatusUnsupportedMediaType, 1003, 3, "Unsupported media type"},
	RequestTimeout:     {http.StatusRequestTimeout, 4458, 4, "The request took too long"},
	Conflict:           {http.StatusConflict, 4409, 9, "Conflict with the state of the topic"},
	OutOfRange:         {http.StatusGone, 4410, 11, "Events are no longer retained"},
	TooLarge:           {http.StatusRequestEntityTooLarge, 1009, 8, "Too large"},
	HeaderTooLarge:     {http.StatusRequestHeaderFieldsTooLarge, 4431, 8, "Header too large"},
	KeyReused:          {http.StatusUnprocessableEntity, 4422, 9, "Idempotency-Key was used with another body"},
	RateLimited:        {http.StatusTooManyRequests, 1013, 8, "Too many requests"},
	Overloaded:         {http.StatusServiceUnavailable, 1013, 14, "Overloaded"},
	Draining:           {http.StatusServiceUnavailable, 1012, 14, "Draining: come back later"},
	TooSlow:            {http.StatusServiceUnavailable, 4408, 8, "The reader fell behind"},
	Fault:              {http.StatusBadGateway, 4500, 15, "The source broke"},
	Cancelled:          {http.StatusConflict, 4500, 1, "Cancelled"},
	Unavailable:        {http.StatusBadGateway, 1014, 14, "The upstream cannot be reached"},
	DeadlineExceeded:   {http.StatusGatewayTimeout, 4504, 4, "The upstream took too long"},
	Internal:           {http.StatusInternalServerError, 1011, 13, "Internal error"},
	MisdirectedRequest: {http.StatusMisdirectedRequest, 4421, 5, "For another host"},
}

func (c Code) row() row {
	if r, ok := table[c]; ok {
		return r
	}
	return table[Internal]
}

// HTTPStatus returns the status that stands for c (RFC 9110 §15).
func (c Code) HTTPStatus() int { return c.row().http }

// CloseCode returns the WebSocket close code that stands for c (RFC 6455
// §7.4); those from 4000 on are Fairlead's own.
func (c Code) CloseCode() int { return c.row().close }

// GRPC returns the number of the gRPC status code that stands for c.
func (c Code) GRPC() int { return c.row().grpc }

// Title returns a short sentence for people, the same for every error of c.
func (c Code) Title() string { return c.row().title }

// Codes returns every code of the table, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(table)) }

// Error is an error with a code; its message says what to do.
type Error struct {
	// Code is the kind, from which each transport takes its status.
	Code Code
	// Message is for the person who made the request.
	Message string
	// RetryAfter is when trying again makes sense. 0: not said.
	RetryAfter time.Duration
	// Cursor is where the reader stood, for a reader that is sent away.
	Cursor Cursor
}

// Errorf returns an *Error with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error returns the code and the message.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// AsError returns the *Error in err's chain, or one of code [Internal] that
// does not repeat err's text, which may not be meant for the client.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return Errorf(Internal, "something went wrong on the server; its log has more")
}
