package conformance_test

import (
	_ "embed"
	"testing"
)

//go:embed testdata/altsvc.html
var altSvcPage string

// Chromium takes up HTTP/3 only where a public authority vouches for the server.
func TestFirefoxMovesToHTTP3BecauseTheServerTellsOfIt(t *testing.T) {
	t.Parallel()
	v := visitedEdge(t, altSvcPage, "")
	firefox(t, v.url(), `"network.http.http3.disable_when_third_party_roots_found", false`)
	for _, want := range []report{{Via: "page", Protocol: "h2"}, {Via: "fetch", Protocol: "h3"}} {
		if got := v.next(); got != want {
			t.Fatalf("the page reports %+v, want %+v", got, want)
		}
	}
}
