package compress

import (
	"net/http"
	"slices"
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
	if etag := header.Get("Etag"); strings.HasPrefix(etag, `"`) {
		header.Set("Etag", "W/"+etag)
	}
}

// keepWeak makes the ETag of a 304 weak for a client that has the coded
// response: it must be the one that it knows (RFC 9110 §15.4.5).
func keepWeak(header http.Header, r *http.Request) {
	etag := header.Get("Etag")
	if !strings.HasPrefix(etag, `"`) {
		return
	}
	for _, line := range r.Header["If-None-Match"] {
		if strings.Contains(line, "W/"+etag) {
			header.Set("Etag", "W/"+etag)
			vary(header, "Accept-Encoding")
			return
		}
	}
}

// vary adds a field's name to Vary, unless it is there.
func vary(header http.Header, name string) {
	lines := header["Vary"]
	for _, line := range lines {
		for field := range strings.SplitSeq(line, ",") {
			if f := strings.TrimSpace(field); f == "*" || strings.EqualFold(f, name) {
				return
			}
		}
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
