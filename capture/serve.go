package capture

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/fairlead-edge/fairlead"
)

// ServeHTTP serves the streams below [Prefix]:
//
//	GET, HEAD, DELETE  Prefix/ID
//	DELETE             Prefix?key=IDEMPOTENCY-KEY
//
// To whom is the stream's owner's business; a page of another origin needs the
// permission of the original response's Access-Control-Allow-Origin, or to be
// one of those of [Store.AllowOrigins].
func (st *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(st.otherStores()) > 0 && !st.knows(r) && st.relay(w, r) {
		return
	}
	st.serveOwn(w, r)
}

// serveOwn serves what this store has itself.
func (st *Store) serveOwn(w http.ResponseWriter, r *http.Request) {
	allowed := st.allowed(w.Header(), r)
	if r.URL.Path == Prefix || r.URL.Path == Prefix+"/" {
		st.serveKey(w, r, allowed)
		return
	}
	id, ok := strings.CutPrefix(r.URL.Path, Prefix+"/")
	if !ok {
		writeProblem(w, errNoStream)
		return
	}
	s, err := st.authorised(id, r)
	switch {
	case err != nil && r.Method == http.MethodOptions && allowed:
		preflight(w, r) // which says nothing about the stream
		return
	case err != nil:
		writeProblem(w, err)
		return
	}
	if err := s.checkOrigin(r); err != nil && !allowed {
		writeProblem(w, err)
		return
	}
	if !allowed {
		s.copyCORS(w.Header())
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.enter()
		defer s.exit()
		st.count.served.Add(1)
		if s.form == asBytes {
			s.serveBytes(w, r)
			return
		}
		s.serveEvents(w, r)
	case http.MethodDelete:
		s.cut()
		w.WriteHeader(http.StatusNoContent)
	case http.MethodOptions:
		preflight(w, r)
	default:
		w.Header().Set("Allow", methods)
		writeProblem(w, fairlead.Errorf(fairlead.MethodNotAllowed, "a captured stream has GET, HEAD and DELETE"))
	}
}

const methods = "GET, HEAD, DELETE, OPTIONS"

// serveKey cancels the calls made under an Idempotency-Key.
func (st *Store) serveKey(w http.ResponseWriter, r *http.Request, allowed bool) {
	key := r.URL.Query().Get("key")
	switch {
	case r.Method == http.MethodOptions && allowed:
		preflight(w, r)
		return
	case r.Method != http.MethodDelete:
		w.Header().Set("Allow", "DELETE")
		writeProblem(w, fairlead.Errorf(fairlead.MethodNotAllowed, "a stream is named by its id, after a slash; only DELETE takes ?key="))
		return
	case key == "":
		writeProblem(w, fairlead.Errorf(fairlead.InvalidArgument, "say which request to cancel: ?key= and its Idempotency-Key"))
		return
	}
	calls := st.called(r, key)
	if len(calls) == 0 {
		writeProblem(w, errNoStream)
		return
	}
	for _, s := range calls {
		if err := s.checkOrigin(r); err != nil && !allowed {
			writeProblem(w, err)
			return
		}
	}
	for _, s := range calls {
		s.cut()
	}
	w.WriteHeader(http.StatusNoContent)
}

// called returns the calls that the sender of r made under an Idempotency-Key.
func (st *Store) called(r *http.Request, key string) []*stream {
	var calls []*stream
	for _, identities := range st.ownerLists() {
		h := hashKey(ownerOf(identities, r), key, r)
		st.mu.Lock()
		for _, s := range st.keys[h] {
			if slices.Equal(s.cfg.Owner, identities) && !slices.Contains(calls, s) {
				calls = append(calls, s)
			}
		}
		st.mu.Unlock()
	}
	return calls
}

var errNoStream = fairlead.Errorf(fairlead.NotFound, "there is no such stream, or it is not yours")

// authorised finds the stream of an id for the sender of r. A preflight comes
// without credentials and needs none.
func (st *Store) authorised(id string, r *http.Request) (*stream, *fairlead.Error) {
	if !validID(id) {
		return nil, errNoStream
	}
	s, what := st.find(id, func(s *stream, o owner) bool {
		if s != nil {
			return r.Method == http.MethodOptions || o.is(ownerOf(s.cfg.Owner, r))
		}
		return slices.ContainsFunc(st.ownerLists(), func(identities []Identity) bool { return o.is(ownerOf(identities, r)) })
	})
	switch what {
	case foundStream:
		return s, nil
	case foundEvicted:
		return nil, fairlead.Errorf(fairlead.OutOfRange, "the stream is no longer kept; make the request again")
	case foundNothing:
	}
	return nil, errNoStream
}

// AllowOrigins sets the origins, such as "https://app.example", whose pages may
// use the streams' own URLs whatever the upstream says of them; "*" is any. It
// may be called at any time. Before it is called there are none.
func (st *Store) AllowOrigins(origins []string) {
	own := slices.Clone(origins)
	st.origins.Store(&own)
}

// allowed reports whether r is of a page of an allowed origin, and lets that
// read the answer.
func (st *Store) allowed(h http.Header, r *http.Request) bool {
	origins, origin := st.origins.Load(), r.Header.Get("Origin")
	if origins == nil || origin == "" || !slices.Contains(*origins, "*") && !slices.Contains(*origins, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", exposed)
	h.Add("Vary", "Origin")
	return true
}

const exposed = "Fairlead-Offset, Fairlead-Earliest, Fairlead-Latest, Fairlead-Closed"

// checkOrigin refuses pages of other sites, unless the upstream let them read
// the response.
func (s *stream) checkOrigin(r *http.Request) *fairlead.Error {
	refused := fairlead.Errorf(fairlead.PermissionDenied, "pages of another origin may not use this stream; the response it is of would have to allow them")
	origin := r.Header.Get("Origin")
	if origin == "" {
		if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
			return refused
		}
		return nil
	}
	if u, err := url.Parse(origin); err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) {
		return nil
	}
	var allowed string
	select {
	case <-s.ready:
		allowed = s.header.Get("Access-Control-Allow-Origin")
	default: // it has no response yet
	}
	if allowed == "*" || allowed != "" && allowed == origin {
		return nil
	}
	return refused
}

// copyCORS gives the answer what the upstream said to pages of other origins.
func (s *stream) copyCORS(h http.Header) {
	for name, values := range s.header {
		if strings.HasPrefix(name, "Access-Control-") {
			h[name] = slices.Clone(values)
		}
	}
	if s.header.Get("Access-Control-Allow-Origin") != "" {
		h.Add("Access-Control-Expose-Headers", exposed)
		h.Add("Vary", "Origin")
	}
}

func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Allow", methods)
	if r.Header.Get("Origin") != "" && h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", methods)
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			h.Set("Access-Control-Allow-Headers", "Authorization, Last-Event-ID, Range, If-Range, Cache-Control")
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
