package compress_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/compress"

	"github.com/klauspost/compress/zstd"
	"github.com/molecule-man/go-brrr"
)

// anOrder is an event of some 430 bytes as a shop sends it.
func anOrder(r *rand.Rand) []byte {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	item := func() string {
		return fmt.Sprintf(`{"sku":"SKU-%05d","quantity":%d,"unitPrice":%d.%02d}`, r.IntN(1e5), 1+r.IntN(9), r.IntN(200), r.IntN(100))
	}
	return fmt.Appendf(nil, `id: %d.%d
event: order
data: {"orderId":"ord_%016x","customer":{"id":"cus_%08x","tier":"%s"},"status":"%s","currency":"EUR",`+
		`"items":[%s,%s],"total":%d.%02d,"createdAt":"2026-11-22T%02d:%02d:%02d.%03dZ",`+
		`"shipping":{"method":"express","country":"DE","zip":"%05d"},"payment":{"method":"card","last4":"%04d"}}

`, r.IntN(1e9), r.IntN(1e6), r.Uint64(), r.Uint32(), pick("gold", "silver", "bronze"), pick("created", "paid", "shipped"),
		item(), item(), r.IntN(900), r.IntN(100), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000), r.IntN(1e5), r.IntN(1e4))
}

// aTick is an event of some 70 bytes.
func aTick(r *rand.Rand) []byte {
	return fmt.Appendf(nil, "id: %d\ndata: {\"s\":\"%s\",\"p\":%d.%02d,\"v\":%d,\"t\":%d}\n\n", 1000000+r.IntN(1e6),
		[]string{"ACME", "INIT", "HOOL", "GLOB"}[r.IntN(4)], r.IntN(900), r.IntN(100), r.IntN(1e4), 1795000000000+r.Int64N(1e9))
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// samples is content for a dictionary: events like those to come.
func samples(size int) []byte {
	r := seeded(1)
	var b []byte
	for len(b) < size {
		b = append(append(b, aTick(r)...), anOrder(r)...)
	}
	return b
}

func newDictionary(t testing.TB, content []byte) *compress.Dictionary {
	t.Helper()
	d, err := compress.NewDictionary(content, compress.DictionaryConfig{Match: "/*"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ask is a request of a page of https://example.com that has the dictionary.
func ask(d *compress.Dictionary, accept string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://example.com/orders", http.NoBody)
	r.Header.Set("Accept-Encoding", accept)
	r.Header.Set("Available-Dictionary", d.Available())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

// decoded returns the body that a client with the dictionary gets.
func decoded(t testing.TB, coding string, body, dictionary []byte) []byte {
	t.Helper()
	hash := sha256.Sum256(dictionary)
	var r io.Reader
	var err error
	switch coding {
	case "dcz":
		body = after(t, body, "\x5e\x2a\x4d\x18\x20\x00\x00\x00"+string(hash[:]))
		var z *zstd.Decoder
		z, err = zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderDictRaw(0, dictionary), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderConcurrency(1))
		defer z.Close()
		r = z
	case "dcb":
		body = after(t, body, "\xffDCB"+string(hash[:]))
		r, err = brrr.NewReaderOptions(bytes.NewReader(body), brrr.ReaderOptions{Dictionaries: [][]byte{dictionary}})
	default:
		t.Fatalf("coding %q", coding)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	return got
}

func after(t testing.TB, body []byte, prefix string) []byte {
	t.Helper()
	rest, ok := bytes.CutPrefix(body, []byte(prefix))
	if !ok {
		t.Fatalf("body begins with %x", body[:min(len(body), 44)])
	}
	return rest
}

func answering(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	})
}

func TestAClientWithTheDictionaryGetsBodiesCodedWithIt(t *testing.T) {
	for _, size := range []int{compress.MinDictionary, 8 << 10, compress.MaxDictionary} {
		content := samples(size)[:size]
		d := newDictionary(t, content)
		r := seeded(2)
		var long []byte
		for len(long) < 3<<20 {
			long = append(long, anOrder(r)...)
		}
		for _, body := range [][]byte{long[:1024], long[:5000], long[:150<<10], long} {
			for _, c := range []struct {
				accept, coding string
				prefer         compress.Prefer
			}{
				{"gzip, deflate, br, zstd, dcb, dcz", "dcz", compress.Speed},
				{"gzip, deflate, br, zstd, dcb, dcz", "dcb", compress.Size},
				{"gzip, dcb", "dcb", compress.Speed},
				{"gzip, dcz", "dcz", compress.Size},
			} {
				if len(body) == len(long) && (size < compress.MaxDictionary || c.coding == "dcb") {
					continue // only there the window ends before the body
				}
				w := httptest.NewRecorder()
				compress.New(compress.Config{Dictionary: d, Prefer: c.prefer}, answering("application/json", body)).ServeHTTP(w, ask(d, c.accept))
				if got := w.Header().Get("Content-Encoding"); got != c.coding {
					t.Fatalf("%q prefer %d: coding %q", c.accept, c.prefer, got)
				}
				if vary := strings.ToLower(strings.Join(w.Header()["Vary"], ", ")); !strings.Contains(vary, "accept-encoding") || !strings.Contains(vary, "available-dictionary") {
					t.Errorf("Vary %q", vary)
				}
				if w.Body.Len() > len(body)/2 {
					t.Errorf("dictionary %d, %s: %d bytes became %d", size, c.coding, len(body), w.Body.Len())
				}
				if got := decoded(t, c.coding, w.Body.Bytes(), content); !bytes.Equal(got, body) {
					t.Errorf("dictionary %d, %s: %d bytes came back as %d others", size, c.coding, len(body), len(got))
				}
			}
		}
	}
}

func TestOthersGetTheUsualCodings(t *testing.T) {
	d := newDictionary(t, samples(4<<10))
	other := newDictionary(t, samples(5<<10))
	body := bytes.Repeat([]byte("a body as they all are "), 100)
	for name, c := range map[string]struct {
		change func(r *http.Request)
		link   bool // it is told where the dictionary is
	}{
		"no dictionary":     {func(r *http.Request) { r.Header.Del("Available-Dictionary") }, true},
		"another one":       {func(r *http.Request) { r.Header.Set("Available-Dictionary", other.Available()) }, true},
		"two":               {func(r *http.Request) { r.Header.Add("Available-Dictionary", d.Available()) }, true},
		"parameters":        {func(r *http.Request) { r.Header.Set("Available-Dictionary", d.Available()+";a") }, true},
		"no byte sequence":  {func(r *http.Request) { r.Header.Set("Available-Dictionary", strings.Trim(d.Available(), ":")) }, true},
		"coding unknown":    {func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip, zstd") }, false},
		"coding refused":    {func(r *http.Request) { r.Header.Set("Accept-Encoding", "dcz;q=0, dcb;q=0, zstd") }, false},
		"another preferred": {func(r *http.Request) { r.Header.Set("Accept-Encoding", "dcz;q=0.5, zstd") }, false},
		"cleartext":         {func(r *http.Request) { r.TLS = nil }, false},
		"same site":         {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, false},
	} {
		r := ask(d, "gzip, zstd, dcb, dcz")
		c.change(r)
		w := httptest.NewRecorder()
		compress.New(compress.Config{Dictionary: d}, answering("text/html", body)).ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding"); got != "zstd" {
			t.Errorf("%s: coding %q", name, got)
		}
		want := []string(nil)
		if c.link {
			want = []string{"<" + d.Path() + `>; rel="compression-dictionary"`}
		}
		if got := w.Header()["Link"]; !slices.Equal(got, want) {
			t.Errorf("%s: Link %q", name, got)
		}
		if vary := strings.Join(w.Header()["Vary"], ", "); !strings.Contains(vary, "Available-Dictionary") {
			t.Errorf("%s: Vary %q", name, vary)
		}
	}
}

func TestADictionaryIsUsedWhereBrowsersTrustTheConnection(t *testing.T) {
	content := samples(4 << 10)
	d := newDictionary(t, content)
	behind, err := compress.NewDictionary(content, compress.DictionaryConfig{Match: "/*", TLSInFront: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		d     *compress.Dictionary
		host  string
		coded bool
	}{
		{d, "localhost:8080", true},
		{d, "app.localhost", true},
		{d, "127.0.0.1:80", true},
		{d, "[::1]:80", true},
		{d, "::1", true},
		{d, "example.com", false},
		{d, "localhost.example.com", false},
		{d, "notlocalhost", false},
		{d, "", false},
		{behind, "example.com", true},
	} {
		r := ask(c.d, "dcz")
		r.TLS, r.Host = nil, c.host
		w := httptest.NewRecorder()
		compress.New(compress.Config{Dictionary: c.d}, answering("application/json", samples(2000))).ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding") == "dcz"; got != c.coded {
			t.Errorf("%q: coded %v", c.host, got)
		}
	}
}

func TestADictionaryIsServedWithWhatItIsFor(t *testing.T) {
	content := samples(300)
	d, err := compress.NewDictionary(content, compress.DictionaryConfig{Match: `/a\?b="*`, ID: `say "hi" \o/`, Prefix: "/own/"})
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(content)
	if d.Hash() != hash || d.Available() != ":"+base64.StdEncoding.EncodeToString(hash[:])+":" || d.Path() != fmt.Sprintf("/own/%x", hash) {
		t.Errorf("%x %s %s", d.Hash(), d.Available(), d.Path())
	}
	get := func(method, ifNoneMatch string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, d.Path(), http.NoBody)
		if ifNoneMatch != "" {
			r.Header.Set("If-None-Match", ifNoneMatch)
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		return w
	}
	w := get(http.MethodGet, "")
	if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), content) {
		t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
	}
	for name, want := range map[string]string{
		"Use-As-Dictionary": `match="/a\\?b=\"*", id="say \"hi\" \\o/"`,
		"Cache-Control":     "public, max-age=2592000, immutable",
		"Etag":              fmt.Sprintf(`"%x"`, hash),
		"Content-Length":    fmt.Sprint(len(content)),
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
	if w := get(http.MethodHead, ""); w.Code != http.StatusOK || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	if w := get(http.MethodGet, `"x", W/`+w.Header().Get("Etag")); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("If-None-Match: %d", w.Code)
	}
	if w := get(http.MethodPost, ""); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

func TestADictionaryThatCannotBeUsedIsRefused(t *testing.T) {
	fit := samples(1000)
	for name, c := range map[string]struct {
		content []byte
		cfg     compress.DictionaryConfig
	}{
		"too small":          {fit[:255], compress.DictionaryConfig{Match: "/*"}},
		"too large":          {samples(compress.MaxDictionary + 1), compress.DictionaryConfig{Match: "/*"}},
		"no pattern":         {fit, compress.DictionaryConfig{}},
		"relative pattern":   {fit, compress.DictionaryConfig{Match: "a*"}},
		"another origin":     {fit, compress.DictionaryConfig{Match: "https://example.com/*"}},
		"another host":       {fit, compress.DictionaryConfig{Match: "//example.com/*"}},
		"backslash host":     {fit, compress.DictionaryConfig{Match: `/\example.com/*`}},
		"regular expression": {fit, compress.DictionaryConfig{Match: "/(a|b)"}},
		"line break":         {fit, compress.DictionaryConfig{Match: "/a\r\nSet-Cookie: a"}},
		"not ASCII":          {fit, compress.DictionaryConfig{Match: "/é"}},
		"fragment":           {fit, compress.DictionaryConfig{Match: "/a#b"}},
		"long id":            {fit, compress.DictionaryConfig{Match: "/*", ID: strings.Repeat("a", 1025)}},
		"id not ASCII":       {fit, compress.DictionaryConfig{Match: "/*", ID: "é"}},
		"relative prefix":    {fit, compress.DictionaryConfig{Match: "/*", Prefix: "d"}},
		"prefix ends a link": {fit, compress.DictionaryConfig{Match: "/*", Prefix: "/a>"}},
	} {
		if _, err := compress.NewDictionary(c.content, c.cfg); err == nil || !strings.HasPrefix(err.Error(), "compress: dictionary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzAvailableDictionary holds the reading of the field to what RFC 9651 §4.2.7
// says, and no request to more than the usual codings unless it names the hash.
func FuzzAvailableDictionary(f *testing.F) {
	content := samples(300)
	d, err := compress.NewDictionary(content, compress.DictionaryConfig{Match: "/*"})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{d.Available(), " " + d.Available(), d.Available() + ";a=1", "::", ":", "", "?1", strings.Repeat(":", 46), d.Available()[:45]} {
		f.Add(s)
	}
	h := compress.New(compress.Config{Dictionary: d}, answering("text/plain", bytes.Repeat(content, 10)))
	f.Fuzz(func(t *testing.T, field string) {
		r := ask(d, "dcz")
		r.Header.Set("Available-Dictionary", field)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		coded := w.Header().Get("Content-Encoding") == "dcz"
		if same := strings.Trim(field, " ") == d.Available(); same != coded {
			t.Errorf("%q: coded %v", field, coded)
		}
	})
}

func ExampleDictionary() {
	d, err := compress.NewDictionary(samples(8<<10), compress.DictionaryConfig{Match: "/orders*", Prefix: "/dictionaries"})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle(d.Path(), d)
	mux.Handle("/orders", compress.New(compress.Config{Dictionary: d}, answering("application/json", samples(1500))))

	// A browser has fetched the dictionary before, which the page asked for:
	// <link rel="compression-dictionary" href="/dictionaries/...">.
	r := ask(d, "gzip, br, zstd, dcb, dcz")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Header().Get("Content-Encoding"), w.Body.Len() < 800)

	at, _ := url.Parse("https://example.com" + d.Path())
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: at})
	fmt.Println(w.Header().Get("Use-As-Dictionary"))
	// Output:
	// dcz true
	// match="/orders*"
}
