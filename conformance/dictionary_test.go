package conformance_test

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

//go:embed testdata/dictionary.html
var dictionaryPage string

func TestBrowsersDecodeWithADictionaryThatTheyFetched(t *testing.T) {
	t.Parallel()
	for _, b := range []struct {
		name   string
		coding string // that the page sees
		open   func(t *testing.T, url string) *process
	}{
		{"Chromium", "dcz", func(t *testing.T, url string) *process {
			return browse(t, url, "--disable-quic", "--ignore-certificate-errors-spki-list="+authority().spki)
		}},
		// Firefox hides these codings from pages, and no others.
		{"Firefox", "", func(t *testing.T, url string) *process {
			return firefox(t, url, `"network.http.http3.enable", false`, `"network.http.dictionaries.enable", true`)
		}},
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			reading := `{"name":"a reading","unit":"degrees Celsius","value":42}`
			words := file(t, "words.dict", strings.Repeat(`{"cursor":"","data":`+reading+"}\n", 20)) // of the topics and of a route
			v := visitedEdge(t, dictionaryPage, "compress: {dictionary: "+words+"}\n", "{path: /shared, upstream: api, compress: {dictionary: "+words+"}}")
			v.server.publish("pages", strings.Repeat(reading+" ", 40))
			topics := whole(t, h1.get(t.Context(), t, h1.client(t, authority().tls()), v.server.https+"/topics/pages", "Accept", "application/json").Body)
			browser := b.open(t, v.url())
			for _, f := range []struct{ path, body string }{{"/shared", v.body}, {"/topics/pages", topics}} {
				sum := sha256.Sum256([]byte(f.body))
				got, want := v.next(), report{Via: "fetch", Data: f.path, Coding: b.coding, Sum: hex.EncodeToString(sum[:])}
				if want.Size = got.Size; got != want || got.Size == 0 || got.Size > len(f.body)/10 {
					t.Fatalf("the page got %+v, want %+v and a tenth of %d bytes at most", got, want, len(f.body))
				}
			}
			for i := range 5 {
				if got := v.next(); got.Via != "eventsource" || got.ID == "" || got.Data != fmt.Sprint(i) {
					t.Fatalf("event %d is %+v", i, got)
				}
				v.server.publish("news", fmt.Sprint(i+1))
			}
			browser.stop()
			if b.name == "Chromium" && !strings.Contains(browser.errors(), "response: /topics/news dcz\n") {
				t.Errorf("the events did not come with the dictionary:\n%s", browser.errors())
			}
		})
	}
}
