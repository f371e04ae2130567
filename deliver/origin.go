package deliver

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/fairlead-edge/fairlead"
)

// origins decides which web pages may use the resource. What is not a browser
// sends no Origin and is not its business.
type origins struct {
	any     bool
	allowed []string
}

func newOrigins(allowed []string) origins {
	o := origins{any: slices.Contains(allowed, "*")}
	for _, origin := range allowed {
		o.allowed = append(o.allowed, strings.ToLower(strings.TrimSuffix(origin, "/")))
	}
	return o
}

// exposed are the headers that a page of another origin may read.
const exposed = "Fairlead-Earliest, Fairlead-Latest, Fairlead-Closed, Preference-Applied, Retry-After, Allow"

// admit refuses pages of other origins, and tells the browser of those that
// are allowed (the Fetch standard, CORS protocol).
func (o *origins) admit(header http.Header, r *http.Request) error {
	sent := r.Header.Values("Origin")
	if len(sent) == 0 {
		// A page that sends no Origin still says that it is one; following a
		// link to a topic is something else.
		navigates := r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate"
		if r.Header.Get("Sec-Fetch-Site") == "cross-site" && !navigates && !o.any {
			return foreign()
		}
		return nil
	}
	if len(sent) > 1 {
		return foreign()
	}
	if sameOrigin(sent[0], r) {
		return nil
	}
	if !o.any && !slices.Contains(o.allowed, strings.ToLower(sent[0])) {
		return foreign()
	}
	header.Add("Vary", "Origin")
	header.Set("Access-Control-Allow-Origin", sent[0])
	header.Set("Access-Control-Expose-Headers", exposed)
	return nil
}

func foreign() error {
	return fairlead.Errorf(fairlead.PermissionDenied, "pages of this origin may not use these topics; the server's cors setting allows further origins")
}

// sameOrigin compares host and port. The scheme cannot be compared: who
// terminates TLS in front of us is not known here.
func sameOrigin(origin string, r *http.Request) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false // also "null"
	}
	port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	return port != "" && strings.EqualFold(strings.TrimSuffix(u.Host, port), strings.TrimSuffix(r.Host, port))
}

// options answers OPTIONS; admit has answered for the origin already.
func options(w http.ResponseWriter, r *http.Request, allow string) {
	header := w.Header()
	header.Set("Allow", allow)
	if r.Header.Get("Access-Control-Request-Method") != "" {
		header.Set("Access-Control-Allow-Methods", allow)
		if names := r.Header.Get("Access-Control-Request-Headers"); names != "" {
			header.Set("Access-Control-Allow-Headers", names) // CloudEvents has names of its own
		}
		header.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}
