package listen

import (
	"net/http"
	"strconv"
	"time"
)

// refuse answers the requests of connections that are not served. Those end
// after the answer: over HTTP/2, net/http makes a GOAWAY of it.
func (s *Server) refuse(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := connOf(r.Context())
		if c != nil {
			c.arrives(r)
			defer c.departs()
		}
		if c == nil || c.refusal() == nil {
			next.ServeHTTP(w, r)
			return
		}
		why := *c.refusal()
		h := w.Header()
		h.Set("Connection", "close")
		h.Set("Retry-After", strconv.Itoa(int(max(why.RetryAfter, time.Second)/time.Second)))
		if s.cfg.Refuse != nil {
			s.cfg.Refuse(w, r, why)
			return
		}
		http.Error(w, why.Reason, why.Status)
	})
}
