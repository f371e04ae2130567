package upstream

import (
	"errors"
	"net/http"
	"strings"
)

// evidence is what is known of an attempt that got no response, taken when
// net/http writes no more for it: after RoundTrip has returned an error, which
// over HTTP/1.1 waits for the writer.
type evidence struct {
	err    error
	http2  bool // the connection spoke HTTP/2
	wrote  bool // HTTP/1.1: some byte of the request was written to the socket; HTTP/2: its header was, or it is not known
	read   bool // HTTP/1.1: some byte of an answer came
	proven bool // the kernel proves that the peer received none of it
}

// retryClass is the reason why a request may be sent again.
type retryClass string

const (
	retryNever      retryClass = ""
	retryUnsent     retryClass = "unsent"         // nothing of it was written
	retryRefused    retryClass = "refused_stream" // the peer says that it did nothing: RFC 9113 §6.8, §8.7
	retryProven     retryClass = "proven"         // the kernel knows that it did not arrive
	retryIdempotent retryClass = "idempotent"     // twice is as good as once: RFC 9110 §9.2.2
	retryKey        retryClass = "key"            // its Idempotency-Key lets the peer tell
)

// costs reports whether the endpoint may have acted on the request, so that
// the retry is taken from the budget.
func (c retryClass) costs() bool { return c == retryIdempotent || c == retryKey }

// classify says why req may be sent again, if it may. It knows nothing of the
// body; see replay.again.
func classify(req *http.Request, e evidence) retryClass {
	if req.Context().Err() != nil || ownFault(e.err) {
		return retryNever
	}
	if e.http2 {
		if c := classifyHTTP2(e.err); c != retryNever {
			return c
		}
	}
	switch {
	case !e.wrote: // before read: a byte then was no answer to this request
		return retryUnsent
	case e.read:
		return retryNever
	case e.proven:
		return retryProven
	case isIdempotent(req.Method):
		return retryIdempotent
	case req.Header.Get("Idempotency-Key") != "" && !isCall(req):
		return retryKey // what metadata of that name means to a service of gRPC is its own affair
	}
	return retryNever
}

func isIdempotent(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// isCall reports whether the request is a call of gRPC or gRPC-Web, with any codec, by
// the media type exactly: others may begin as theirs do.
func isCall(req *http.Request) bool {
	values := req.Header["Content-Type"]
	if req.Method != http.MethodPost || len(values) != 1 {
		return false
	}
	kind, _, _ := strings.Cut(values[0], ";")
	protocol, codec, _ := strings.Cut(strings.TrimRight(kind, " \t"), "+")
	switch protocol {
	case "application/grpc", "application/grpc-web", "application/grpc-web-text":
		return !strings.ContainsAny(codec, " \t,")
	}
	return false
}

// streamError has the fields of net/http's own type for a reset stream, which
// errors.AsType copies into any such struct.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "stream error" }

const codeRefusedStream = 7 // RFC 9113 §7

// The texts of errors for which net/http has no exported type; the tests get
// each from a real connection. All of the first three are made before the
// stream is written. A stream above the last one that a GOAWAY names gets the
// fourth, whatever the code of the GOAWAY, except that the first stream of a
// connection gets the fifth if the code is not NO_ERROR. A stream up to the
// last one goes on; if the connection ends before its answer the error starts
// with "http2: server sent GOAWAY and closed the connection", and the request
// may have been acted on.
const (
	textNotUsable      = "http2: client conn not usable"
	textNotEstablished = "http2: client conn could not be established"
	textGoAway         = "http2: Transport received Server's graceful shutdown GOAWAY"
	textGoAwayFirst    = "http2: Transport received GOAWAY from server ErrCode:" // and the code
)

// classifyHTTP2 knows the errors that tell by themselves that a stream was not
// acted on. Texts are compared as a whole at the root of the chain, since
// others quote what the peer sent.
func classifyHTTP2(err error) retryClass {
	if reset, ok := errors.AsType[streamError](err); ok {
		if reset.Code == codeRefusedStream {
			return retryRefused
		}
		return retryNever
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	if err == nil {
		return retryNever
	}
	switch text := err.Error(); {
	case text == textNotUsable, text == textNotEstablished:
		return retryUnsent
	case text == textGoAway, strings.HasPrefix(text, textGoAwayFirst):
		return retryRefused
	}
	return retryNever
}

// ownFaults are parts of the errors that net/http has for a request that no
// endpoint would get. Over HTTP/1.1 that of a wrong length may be lost behind
// the connection's failure, which costs the attempts that are left.
var ownFaults = []string{
	"http: invalid ", // header, trailer, method, host
	"http: nil Request.",
	"http: no Host in request URL",
	"http: can't write control character in Request.URL",
	"http: ContentLength=", // with a body of another length
	"http: Request.ContentLength=",
	"invalid Trailer key ",
	"http2: invalid ",
	"http2: request body larger than specified content length",
	"request header list larger than peer's advertised limit",
}

// ownFault reports whether err is the request's own, its body's included.
func ownFault(err error) bool {
	if err == nil {
		return false
	}
	if _, ok := errors.AsType[*bodyError](err); ok {
		return true
	}
	text := err.Error()
	for _, part := range ownFaults {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
