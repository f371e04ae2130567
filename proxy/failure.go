package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// explain returns err wrapped with the [fairlead.Error] that tells its cause,
// whose text is for the client and so has no address in it.
func (x *exchange) explain(err error) error {
	if _, ok := errors.AsType[*fairlead.Error](err); ok {
		return fmt.Errorf("proxy: %w", err)
	}
	if x.due != nil && x.due.Err() != nil && x.in.Context().Err() == nil {
		return fmt.Errorf("proxy: %w: %w", errDeadline, err)
	}
	return fmt.Errorf("proxy: %w: %w", x.cause(err), err)
}

func (x *exchange) cause(err error) error {
	if errors.Is(x.in.Context().Err(), context.Canceled) {
		return fairlead.Errorf(fairlead.Cancelled, "the client went away")
	}
	if up := x.upload.outcome(); up != nil && !errors.Is(up, io.EOF) {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](up); ok {
			return fairlead.Errorf(fairlead.TooLarge, "the request's body is over the limit of %d bytes", tooLarge.Limit)
		}
		if errors.Is(up, os.ErrDeadlineExceeded) { // the server's patience with the client, not ours with the upstream
			return fairlead.Errorf(fairlead.RequestTimeout, "the request's body stopped coming")
		}
		return fairlead.Errorf(fairlead.InvalidArgument, "the request's body could not be read to its end")
	}
	if timedOut(err) {
		return fairlead.Errorf(fairlead.DeadlineExceeded, "the upstream did not answer in time")
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fairlead.Errorf(fairlead.Unavailable, "the upstream refused the connection: is it running?")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fairlead.Errorf(fairlead.Unavailable, "the upstream closed the connection before it answered")
	}
	if reset := resetOf(err); reset != nil {
		return reset
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fairlead.Errorf(fairlead.Unavailable, "the upstream could not be reached")
	}
	text := err.Error()
	for _, m := range untyped {
		if strings.Contains(text, m.part) {
			return fairlead.Errorf(fairlead.Unavailable, "%s", m.why)
		}
	}
	return fairlead.Errorf(fairlead.Unavailable, "the upstream's answer could not be used")
}

// untyped are parts of the errors for which net/http has no type: those of an upstream
// that speaks another protocol than it is spoken to in, and of one that goes away.
var untyped = []struct{ part, why string }{
	{`malformed HTTP response "\x00\x00`, "the upstream answers in HTTP/2 what it is asked in HTTP/1.1: is it h2c, without TLS, or https?"},
	{"looked like an HTTP/1.1 header", "the upstream answers in HTTP/1.1 what it is asked in HTTP/2: is it http instead of h2c?"},
	{"http2: server sent GOAWAY and closed the connection", "the upstream went away before it answered"},
	{"does not look like a TLS handshake", "the upstream does not speak TLS: is it http or h2c instead of https?"},
}

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// Problem answers with the problem details (RFC 9457) of the
// [fairlead.Error] in err, or of an internal error: its status, its code, and
// a detail for people. No cache may keep it. A call of gRPC or gRPC-Web is answered
// with its gRPC status instead.
func Problem(w http.ResponseWriter, r *http.Request, err error) {
	e := fairlead.AsError(err)
	if isGRPC(r) {
		answerGRPC(w, r, err)
		return
	}
	body, err := json.Marshal(struct {
		Title  string        `json:"title"`
		Status int           `json:"status"`
		Detail string        `json:"detail"`
		Code   fairlead.Code `json:"code"`
	}{e.Code.Title(), e.Code.HTTPStatus(), e.Message, e.Code})
	if err != nil {
		panic(err) // two strings and a number always marshal
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	if e.Code == fairlead.MethodNotAllowed && h.Get("Allow") == "" {
		h.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	}
	w.WriteHeader(e.Code.HTTPStatus())
	_, _ = w.Write(body) // a client that has gone needs no answer
}
