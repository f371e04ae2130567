package client

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/fairlead-edge/fairlead"
)

// maxProblem bounds how much of an error's body is read, in bytes.
const maxProblem = 64 << 10

// responseError makes an error of an answer that is not a success: the
// server's own code and words when it sent them (RFC 9457).
func responseError(resp *http.Response) *fairlead.Error {
	e := fairlead.Errorf(codeOf(resp.StatusCode), "the server answers %s", resp.Status)
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem)) // the status says enough
	var problem struct {
		Code   fairlead.Code `json:"code"`
		Detail string        `json:"detail"`
	}
	if json.Unmarshal(body, &problem) == nil && problem.Detail != "" {
		e.Message = resp.Status + ": " + problem.Detail
		if problem.Code.HTTPStatus() == resp.StatusCode {
			e.Code = problem.Code
		}
	}
	e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	return e
}

// codeOf chooses a code for a status that came without one.
func codeOf(status int) fairlead.Code {
	switch status { // those of which the table has several, or none
	case http.StatusTooEarly, http.StatusBadGateway:
		return fairlead.Unavailable
	case http.StatusConflict:
		return fairlead.Conflict
	case http.StatusServiceUnavailable:
		return fairlead.Overloaded
	}
	for _, c := range fairlead.Codes() {
		if c.HTTPStatus() == status {
			return c
		}
	}
	if status >= http.StatusInternalServerError {
		return fairlead.Internal
	}
	return fairlead.InvalidArgument
}

// final reports whether err would be the same if one tried again.
func final(err error) bool {
	e, ok := asError(err)
	if !ok {
		return false // the connection's
	}
	switch e.Code {
	case fairlead.RateLimited, fairlead.Overloaded, fairlead.Draining, fairlead.TooSlow, fairlead.RequestTimeout,
		fairlead.Unavailable, fairlead.DeadlineExceeded, fairlead.Internal:
		return false
	}
	return true
}
