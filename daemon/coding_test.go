package daemon_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

func TestThePageAndTheProblemsOfTheServerItselfAreCoded(t *testing.T) {
	p := start(t, "", daemon.Options{})
	if res := request(t, http.MethodGet, p.http+"/", "", "Accept-Encoding", "zstd"); res.Header.Get("Content-Encoding") != "zstd" {
		t.Errorf("the page has %v", res.Header)
	}
	eventually(t, "the metrics show the coded page", func() bool {
		_, text := answer(t, http.MethodGet, p.admin+"/metrics", "")
		return strings.Contains(text, `fairlead_compression_responses_total{coding="zstd",reason=""} 1`) &&
			strings.Contains(text, "fairlead_compression_memory_limit_bytes 6.7108864e+07\n")
	})
	p = start(t, "compress: {min_size: 0}\n", daemon.Options{})
	res := request(t, http.MethodGet, p.http+"/nowhere", "", "Accept-Encoding", "gzip")
	if res.StatusCode != http.StatusNotFound || res.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("a problem is %s with %v", res.Status, res.Header)
	}
}

func TestABodyThatCannotBeDecodedIsAnsweredWithAProblem(t *testing.T) {
	p := start(t, "", daemon.Options{})
	for coding, want := range map[string]string{"compress": `"code":"unsupported_media"`, "gzip": `"code":"invalid_argument"`} {
		res := request(t, http.MethodPost, p.http+"/topics/t", "", "Content-Encoding", coding)
		if coding == "gzip" {
			res = request(t, http.MethodPost, p.http+"/topics/t", "no gzip", "Content-Encoding", coding)
		}
		text := new(strings.Builder)
		_ = res.Write(text)
		if res.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(text.String(), want) {
			t.Errorf("%s: %s", coding, text)
		}
		if coding == "compress" && res.Header.Get("Accept-Encoding") != "zstd, br, gzip" {
			t.Errorf("the codings that are known are %q", res.Header.Get("Accept-Encoding"))
		}
	}
}

func TestBehindATLSTerminatorReadersAreToldOfTheDictionaryAndPublishersAreNot(t *testing.T) {
	for _, inFront := range []bool{false, true} {
		file := write(t, fmt.Sprintf("hosts: [edge.example]\ncompress: {min_size: 0, dictionary: words.dict, tls_in_front: %v}\n", inFront))
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), "words.dict"), []byte(strings.Repeat("a price of the topic ", 20)), 0o600); err != nil {
			t.Fatal(err)
		}
		p := start(t, "", daemon.Options{Config: file})
		ask := []string{"Host", "edge.example", "Accept-Encoding", "dcz, zstd", "Accept", "application/json", "Content-Type", "text/plain"}
		if res := request(t, http.MethodPost, p.http+"/topics/t", "hello", ask...); res.StatusCode != http.StatusCreated || res.Header.Get("Link") != "" {
			t.Errorf("a publish is answered %s with %v", res.Status, res.Header)
		}
		res := request(t, http.MethodGet, p.http+"/topics/t?after=earliest", "", ask...)
		if res.StatusCode != http.StatusOK || (res.Header.Get("Link") != "") != inFront {
			t.Errorf("TLS in front %v: a reader is answered %s with %v", inFront, res.Status, res.Header)
		}
	}
}
