package capture

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"

	"github.com/fairlead-edge/fairlead"
)

// problem returns the problem details of e (RFC 9457) and their header.
func problem(e *fairlead.Error) (http.Header, []byte) {
	body, err := json.Marshal(struct {
		Title  string        `json:"title"`
		Status int           `json:"status"`
		Detail string        `json:"detail"`
		Code   fairlead.Code `json:"code"`
	}{e.Code.Title(), e.Code.HTTPStatus(), e.Message, e.Code})
	if err != nil {
		panic(err) // strings and a number always marshal
	}
	h := make(http.Header)
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	return h, body
}

func writeProblem(w http.ResponseWriter, e *fairlead.Error) {
	header, body := problem(e)
	maps.Copy(w.Header(), header)
	w.WriteHeader(e.Code.HTTPStatus())
	_, _ = w.Write(body) //nolint:gosec // JSON, and said to be; a client that has gone needs no answer
}

// refusal is the response to a request that is answered here.
func refusal(r *http.Request, e *fairlead.Error) *http.Response {
	header, body := problem(e)
	return response(r, e.Code.HTTPStatus(), header, io.NopCloser(bytes.NewReader(body)), int64(len(body)))
}

func noContent(r *http.Request) *http.Response {
	return response(r, http.StatusNoContent, http.Header{"Cache-Control": {"no-store"}}, http.NoBody, 0)
}

func response(r *http.Request, status int, header http.Header, body io.ReadCloser, length int64) *http.Response {
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: body, ContentLength: length, Request: r,
	}
}
