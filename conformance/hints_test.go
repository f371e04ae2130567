package conformance_test

import (
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
)

func TestEarlyHintsComeBeforeTheAnswerIsMade(t *testing.T) {
	t.Parallel()
	seen := map[string]chan struct{}{}
	for _, p := range protocols {
		seen["/"+p.name] = make(chan struct{})
	}
	s := edge(t, proxied(upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload; as=style")
		w.WriteHeader(http.StatusEarlyHints)
		select {
		case <-seen[r.URL.Path]: // by the client
			fmt.Fprint(w, "the answer")
		case <-r.Context().Done():
		}
	}))))
	each(t, protocols, func(t *testing.T, p protocol) {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if link := h.Get("Link"); code != http.StatusEarlyHints || link != "</style.css>; rel=preload; as=style" {
					return fmt.Errorf("interim answer %d with Link %q", code, link)
				}
				close(seen["/"+p.name])
				return nil
			},
		})
		res := p.get(ctx, t, p.client(t, authority().tls()), p.base(s)+"/"+p.name)
		if body := whole(t, res.Body); res.StatusCode != http.StatusOK || body != "the answer" {
			t.Errorf("after the hints came %s with %q", res.Status, body)
		}
	})
}

// proxied is the configuration of an upstream for every path that is not
// Fairlead's own. Further keys of its route are given as YAML.
func proxied(url string, keys ...string) string {
	keys = append([]string{"path: /**", "upstream: api"}, keys...)
	return "upstreams: {api: {endpoints: [" + url + "]}}\nroutes: [{" + strings.Join(keys, ", ") + "}]\n"
}
