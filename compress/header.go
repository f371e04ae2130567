package compress

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// recode turns the header of a body into that of the coded one. What speaks of
// the bytes of the body goes: its length, its parts, its digests (RFC 9530 §3.1,
// where they are of the coded content).
func recode(header http.Header, coding string) {
	header.Set("Content-Encoding", coding)
	for _, name := range []string{"Content-Length", "Accept-Ranges", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
		header.Del(name)
	}
	weaken(header)
}

// weaken makes an ETag weak: the bytes are others, and mean the same (RFC 9110
// §8.8.1).
func weaken(header http.Header) {
	if etag := header.Get("Etag"); strings.HasPrefix(etag, `"`) {
		header.Set("Etag", "W/"+etag)
	}
}

// notModified makes the ETag of a 304 weak for a client that has the coded
// response: it must be the one that it knows (RFC 9110 §15.4.5). Whether others
// would have been coded is known only if the handler tells the type.
func (h *handler) notModified(header http.Header, r *http.Request) {
	if h.codable(header.Get("Content-Type")) {
		vary(header, "Accept-Encoding")
	}
	etag := header.Get("Etag")
	if !strings.HasPrefix(etag, `"`) {
		return
	}
	for _, line := range r.Header["If-None-Match"] {
		if strings.Contains(line, "W/"+etag) {
			weaken(header)
			vary(header, "Accept-Encoding")
			return
		}
	}
}

// takeBack makes header what it was first, and returns those of the later values
// that are trailers.
func takeBack(header, first http.Header) (late http.Header) {
	for name, values := range header {
		if strings.HasPrefix(name, http.TrailerPrefix) || contains(first["Trailer"], name) {
			if late == nil {
				late = make(http.Header)
			}
			late[name] = values
		}
	}
	clear(header)
	maps.Copy(header, first)
	return late
}

// vary adds a field's name to Vary, unless it is there.
func vary(header http.Header, name string) {
	lines := header["Vary"]
	if contains(lines, name) || contains(lines, "*") {
		return
	}
	switch len(lines) {
	case 0:
		header.Set("Vary", name)
	default: // the handler's values are perhaps shared by responses
		lines = slices.Clone(lines)
		lines[0] += ", " + name
		header["Vary"] = lines
	}
}

// contains reports whether a list of names, in one or more lines, has one,
// whatever its case.
func contains(lines []string, name string) bool {
	for _, line := range lines {
		for field := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(field), name) {
				return true
			}
		}
	}
	return false
}

func noTransform(header http.Header) bool { return contains(header["Cache-Control"], "no-transform") }

func isEvents(header http.Header) bool {
	return strings.HasPrefix(strings.ToLower(header.Get("Content-Type")), "text/event-stream")
}

// contentLength returns the length of the body, -1 if the header does not say it.
func contentLength(header http.Header) int64 {
	if v := header.Get("Content-Length"); v != "" { // the error of parsing nothing is an allocation
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= 0 {
			return n
		}
	}
	return -1
}
