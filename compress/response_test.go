package compress_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/fairlead-edge/fairlead/compress"
)

func TestTheClientsWeightsChooseTheCoding(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]struct{ speed, size string }{
		"":                                  {"", ""},
		"gzip":                              {"gzip", "gzip"},
		"x-gzip":                            {"gzip", "gzip"},
		"GZIP":                              {"gzip", "gzip"},
		"gzip, deflate, br, zstd":           {"zstd", "br"},
		"gzip;q=1, br;q=0.5, zstd;q=0.1":    {"gzip", "gzip"},
		"zstd;q=0, br;q=0, gzip":            {"gzip", "gzip"},
		"zstd;q=0, *":                       {"br", "br"},
		"*":                                 {"zstd", "br"},
		"*;q=0":                             {"", ""},
		"identity;q=0, gzip;q=0.1":          {"gzip", "gzip"},
		"identity;q=0":                      {"", ""},
		"identity, gzip;q=0.5":              {"", ""},
		"identity;q=0.5, gzip;q=0.5":        {"gzip", "gzip"},
		"gzip;q=nonsense":                   {"gzip", "gzip"},
		"gzip;q=2, br":                      {"br", "br"},
		"deflate":                           {"", ""},
		" , ,, gzip ;; q=1 ;a=b":            {"gzip", "gzip"},
		"identity;q=1, *;q=0":               {"", ""},
		"br;q=0.001":                        {"br", "br"},
		"compress, gzip;level=9;Q=0.2, foo": {"gzip", "gzip"},
	} {
		for prefer, want := range map[compress.Prefer]string{compress.Speed: want.speed, compress.Size: want.size} {
			res := answer(compress.New(compress.Config{Prefer: prefer}, says("text/plain", text(5000))), http.MethodGet, "Accept-Encoding", accept)
			if got := res.Header.Get("Content-Encoding"); got != want {
				t.Errorf("%q, preferring %v, is coded %q, want %q", accept, prefer, got, want)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || decode(t, want, body) != text(5000) {
				t.Errorf("%q: the body is another, %v", accept, err)
			}
		}
	}
}

func TestAClientThatRefusesIdentityGetsACodingOfAllThatCanHaveOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		h            http.Handler
		accept, want string
	}{
		"small":                {says("text/plain", "a"), "identity;q=0, gzip", "gzip"},
		"small, told":          {says("text/plain", "a", "Content-Length", "1"), "identity;q=0, gzip", "gzip"},
		"empty":                {says("text/plain", ""), "identity;q=0, gzip", ""},
		"a picture":            {says("image/png", text(5000)), "gzip, *;q=0", "gzip"},
		"any but the identity": {says("image/png", text(5000)), "*, identity;q=0", "zstd"},
		"nothing we have":      {says("text/plain", text(5000)), "identity;q=0, deflate", ""},
		"nothing at all":       {says("text/plain", text(5000)), "*;q=0", ""},
		"coded already":        {says("text/plain", text(5000), "Content-Encoding", "br"), "identity;q=0, gzip", "br"},
		"no-transform":         {says("text/plain", text(5000), "Cache-Control", "no-transform"), "identity;q=0, gzip", ""},
	} {
		res := answer(compress.New(compress.Config{}, c.h), http.MethodGet, "Accept-Encoding", c.accept)
		if got := res.Header.Get("Content-Encoding"); got != c.want || res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d, coded %q, want %q", name, res.StatusCode, got, c.want)
		}
	}
}

func TestStatusesWithoutABodyOfTheirOwnAreLeftAlone(t *testing.T) {
	t.Parallel()
	for _, status := range []int{204, 205, 206, 304} {
		h := compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Etag", `"abc"`)
			w.WriteHeader(status)
		}))
		if header := answer(h, http.MethodGet, "Accept-Encoding", "gzip").Header; header.Get("Content-Encoding") != "" || header.Get("Etag") != `"abc"` {
			t.Errorf("%d: the header is %v", status, header)
		}
	}
}

func TestAcceptEncodingMayStandInSeveralLines(t *testing.T) {
	t.Parallel()
	res := answer(compress.New(compress.Config{}, says("text/plain", text(5000))), http.MethodGet, "Accept-Encoding", "gzip;q=0.1", "Accept-Encoding", "br")
	if got := res.Header.Get("Content-Encoding"); got != "br" {
		t.Errorf("the coding is %q, want br of the second line", got)
	}
}

// untouched are responses that are sent as they are, and whether they would
// depend on what the client accepts.
var untouched = map[string]struct {
	h      http.Handler
	cfg    compress.Config
	header []string
	vary   string
}{
	"small":        {h: says("text/plain", text(1023)), vary: "Accept-Encoding"},
	"small, told":  {h: says("text/plain", text(1023), "Content-Length", "1023"), vary: "Accept-Encoding"},
	"empty":        {h: says("text/plain", ""), vary: "Accept-Encoding"},
	"image":        {h: says("image/png", text(5000))},
	"font":         {h: says("font/woff2", text(5000))},
	"archive":      {h: says("application/zip", text(5000))},
	"bytes":        {h: says("application/octet-stream", text(5000))},
	"gRPC":         {h: says("application/grpc+proto", text(5000))},
	"encrypted":    {h: says("application/jose+json", text(5000))},
	"pgp":          {h: says("application/pgp-encrypted", text(5000))},
	"coded":        {h: says("text/plain", text(5000), "Content-Encoding", "br")},
	"coded twice":  {h: says("text/plain", text(5000), "Content-Encoding", "identity", "Content-Encoding", "br")},
	"partial":      {h: says("text/plain", text(5000), "Content-Range", "bytes 0-4999/10000")},
	"no-transform": {h: says("text/plain", text(5000), "Cache-Control", "public, No-Transform")},
	"no type": {h: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, text(5000))
	})},
	"of another site": {h: says("text/plain", text(5000)), header: []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, vary: "Accept-Encoding"},
}

func TestWhatCodingDoesNotHelpIsSentAsItIs(t *testing.T) {
	t.Parallel()
	for name, c := range untouched {
		plain := answer(c.h, http.MethodGet)
		res := answer(compress.New(c.cfg, c.h), http.MethodGet, append(c.header, "Accept-Encoding", "zstd, br, gzip")...)
		want, err := io.ReadAll(plain.Body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: the body is another, %v", name, err)
		}
		if res.Header.Get("Content-Encoding") != plain.Header.Get("Content-Encoding") || res.Header.Get("Content-Length") != plain.Header.Get("Content-Length") {
			t.Errorf("%s: the header is %v, want %v", name, res.Header, plain.Header)
		}
		if got := res.Header.Get("Vary"); got != c.vary {
			t.Errorf("%s: Vary is %q, want %q", name, got, c.vary)
		}
	}
}

func TestTheConfigurationWidensWhatIsCoded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg    compress.Config
		h      http.Handler
		header []string
	}{
		"smaller":         {cfg: compress.Config{MinSize: 10}, h: says("text/plain", text(20))},
		"every size":      {cfg: compress.Config{MinSize: -1}, h: says("text/plain", "a")},
		"a type":          {cfg: compress.Config{Types: []string{"Application/X-Own"}}, h: says("application/x-own; v=1", text(5000))},
		"another site":    {cfg: compress.Config{CrossSite: true}, h: says("text/plain", text(5000)), header: []string{"Sec-Fetch-Site", "cross-site"}},
		"a link":          {h: says("text/html", text(5000)), header: []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}},
		"own responses":   {cfg: compress.Config{Own: true}, h: says("text/plain", text(5000), "Cache-Control", "no-transform")},
		"a suffix":        {h: says("application/vnd.api+json; charset=utf-8", text(5000))},
		"identity stated": {h: says("text/plain", text(5000), "Content-Encoding", "identity")},
	} {
		res := answer(compress.New(c.cfg, c.h), http.MethodGet, append(c.header, "Accept-Encoding", "gzip")...)
		if got := res.Header.Get("Content-Encoding"); got != "gzip" {
			t.Errorf("%s: the coding is %q", name, got)
		}
	}
}

func TestTheHeaderOfACodedBodySpeaksOfIt(t *testing.T) {
	t.Parallel()
	h := says("text/plain", text(5000), "Content-Length", "5000", "Accept-Ranges", "bytes", "Etag", `"abc"`, "Vary", "Accept", "Vary", "Prefer",
		"Repr-Digest", "sha-256=:x:", "Content-Digest", "sha-256=:x:", "Cache-Control", "max-age=5")
	header := answer(compress.New(compress.Config{}, h), http.MethodGet, "Accept-Encoding", "br").Header
	for name, want := range map[string]string{
		"Content-Length": "", "Accept-Ranges": "", "Etag": `W/"abc"`, "Repr-Digest": "", "Content-Digest": "",
		"Cache-Control": "max-age=5", "Content-Type": "text/plain", "Content-Encoding": "br", "Vary": "Accept, Accept-Encoding",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if again := answer(compress.New(compress.Config{}, says("text/plain", text(5000), "Vary", "accept-ENCODING", "Etag", `W/"x"`)), http.MethodGet, "Accept-Encoding", "br").Header; len(again["Vary"]) != 1 ||
		again.Get("Vary") != "accept-ENCODING" || again.Get("Etag") != `W/"x"` {
		t.Errorf("a header that says it already became %v", again)
	}
}

func TestHeadAnswersTheHeaderOfGet(t *testing.T) {
	t.Parallel()
	h := compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Etag", `"abc"`)
		w.Header().Set("Content-Length", "5000")
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, text(5000))
		}
	}))
	get, head := answer(h, http.MethodGet, "Accept-Encoding", "gzip"), answer(h, http.MethodHead, "Accept-Encoding", "gzip")
	for _, name := range []string{"Content-Encoding", "Etag", "Vary", "Content-Length", "Content-Type"} {
		if get.Header.Get(name) != head.Header.Get(name) {
			t.Errorf("%s is %q for HEAD and %q for GET", name, head.Header.Get(name), get.Header.Get(name))
		}
	}
	if body, err := io.ReadAll(head.Body); err != nil || len(body) > 0 {
		t.Errorf("HEAD has a body of %d bytes, %v", len(body), err)
	}
}

func TestANotModifiedNamesTheETagThatTheClientHas(t *testing.T) {
	t.Parallel()
	h := compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Etag", `"abc"`)
		w.WriteHeader(http.StatusNotModified)
	}))
	typed := compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css")
		w.WriteHeader(http.StatusNotModified)
	}))
	if got := answer(typed, http.MethodGet, "If-None-Match", "*").Header.Get("Vary"); got != "Accept-Encoding" {
		t.Errorf("Vary of a 304 that tells its type is %q", got)
	}
	for held, want := range map[string]string{`W/"abc"`: `W/"abc"`, `"abc"`: `"abc"`, `"x", W/"abc"`: `W/"abc"`} {
		res := answer(h, http.MethodGet, "Accept-Encoding", "gzip", "If-None-Match", held)
		if got := res.Header.Get("Etag"); got != want || res.StatusCode != http.StatusNotModified {
			t.Errorf("a client with %s gets %d with %s, want %s", held, res.StatusCode, got, want)
		}
	}
}

func TestInterimResponsesStatusesAndTrailersPass(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, text(3000))
		w.Header().Set("X-Sum", "5")
		w.Header().Set(http.TrailerPrefix+"X-More", "6")
	})))
	t.Cleanup(s.Close)
	res := get(t, s.URL, "zstd")
	body, err := io.ReadAll(res.Body)
	if err != nil || decode(t, "zstd", body) != text(3000) {
		t.Errorf("the body is another, %v", err)
	}
	if res.StatusCode != http.StatusTeapot || res.Trailer.Get("X-Sum") != "5" || res.Trailer.Get("X-More") != "6" {
		t.Errorf("the answer is %d with the trailer %v", res.StatusCode, res.Trailer)
	}
}

func TestASmallCodedBodyHasItsLength(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(compress.New(compress.Config{}, says("text/plain", text(4000))))
	t.Cleanup(s.Close)
	res := get(t, s.URL, "gzip")
	body, err := io.ReadAll(res.Body)
	if err != nil || res.ContentLength != int64(len(body)) {
		t.Errorf("Content-Length is %s of %d bytes, %v", strconv.FormatInt(res.ContentLength, 10), len(body), err)
	}
}

func TestTheOutcomeIsTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		h      http.Handler
		accept string
		want   compress.Outcome
	}{
		"coded":        {says("text/plain", text(5000)), "gzip", compress.Outcome{Coding: "gzip", Before: 5000}},
		"small":        {says("text/plain", text(50)), "gzip", compress.Outcome{Reason: "small", Before: 50}},
		"not accepted": {says("text/plain", text(5000)), "", compress.Outcome{Reason: "not accepted", Before: 5000}},
	} {
		var told []compress.Outcome
		res := answer(compress.New(compress.Config{Observe: func(o compress.Outcome) { told = append(told, o) }}, c.h), http.MethodGet, "Accept-Encoding", c.accept)
		body, err := io.ReadAll(res.Body)
		c.want.After = int64(len(body))
		if err != nil || len(told) != 1 || told[0] != c.want {
			t.Errorf("%s: told %+v, want %+v", name, told, c.want)
		}
	}
}

func get(t *testing.T, url, accept string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", accept)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = res.Body.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return res
}
