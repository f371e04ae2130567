package capture

import (
	"mime"
	"net/http"
	"slices"
	"strings"
)

// mediaType returns a Content-Type without its parameters, in lower case.
func mediaType(h http.Header) string {
	v := h.Get("Content-Type")
	t, _, err := mime.ParseMediaType(v)
	if err != nil {
		t, _, _ = strings.Cut(v, ";")
		t = strings.ToLower(strings.TrimSpace(t))
	}
	return t
}

const eventStream = "text/event-stream"

// tokens splits the values of a list field, in lower case, parameters and all.
func tokens(values []string) []string {
	var list []string
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			list = append(list, strings.ToLower(strings.TrimSpace(t)))
		}
	}
	return list
}

// acceptsEvents reports whether the Accept header names text/event-stream.
func acceptsEvents(h http.Header) bool {
	return slices.ContainsFunc(tokens(h["Accept"]), func(t string) bool {
		t, _, _ = strings.Cut(t, ";")
		return strings.TrimSpace(t) == eventStream
	})
}

// safe reports whether the request is a safe one for an event stream, as an
// EventSource sends it.
func safeForEvents(r *http.Request) bool {
	return r.Method == http.MethodGet && acceptsEvents(r.Header)
}

// fromEventSource reports whether r looks like a native EventSource's (WHATWG
// HTML §9.2.2), which takes an id without an event.
func fromEventSource(r *http.Request) bool {
	return safeForEvents(r) && slices.Contains(tokens(r.Header["Cache-Control"]), "no-cache")
}

// never reports whether a request is of a kind whose response is not captured.
func never(r *http.Request) bool {
	return r.Method == http.MethodHead || r.Method == http.MethodConnect || len(r.Header["Upgrade"]) > 0 ||
		strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// form is how a response is recorded.
type form uint8

const (
	notRecorded form = iota
	asEvents
	asBytes
)

// formOf decides how the response to an eligible request is recorded.
func formOf(record Record, resp *http.Response) form {
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return notRecorded
	}
	switch resp.StatusCode {
	case http.StatusNoContent, http.StatusResetContent, http.StatusPartialContent:
		return notRecorded
	}
	for _, t := range tokens(resp.Header["Cache-Control"]) {
		if t == "public" || strings.HasPrefix(t, "s-maxage") {
			return notRecorded
		}
	}
	t := mediaType(resp.Header)
	coded := slices.ContainsFunc(tokens(resp.Header["Content-Encoding"]), func(t string) bool { return t != "" && t != "identity" })
	switch {
	case strings.HasPrefix(t, "application/grpc"):
		return notRecorded
	case t == eventStream && !coded:
		return asEvents
	case record == All && resp.ContentLength < 0:
		return asBytes
	}
	return notRecorded
}

// captured returns the header of a recorded response: the upstream's, and what
// the contract adds.
func captured(h http.Header, id string) http.Header {
	h = h.Clone()
	// What the upstream's Connection nominates ends here (RFC 9110 §7.6.1);
	// later it would take our fields along.
	for _, name := range tokens(h.Values("Connection")) {
		h.Del(name)
	}
	h.Del("Connection")
	h.Set("Content-Location", Prefix+"/"+id)
	h.Set("Cache-Control", "private, no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Del("Content-Length")
	if h.Get("Access-Control-Allow-Origin") != "" {
		exposed := h.Values("Access-Control-Expose-Headers")
		if list := tokens(exposed); !slices.Contains(list, "content-location") {
			h.Set("Access-Control-Expose-Headers", strings.Join(append(slices.Clone(exposed), "Content-Location"), ", "))
		}
	}
	return h
}
