package capture

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
)

// source is where an identity is read from.
type source uint8

const (
	fromHeader source = iota
	fromCookie
	fromQuery
	fromClientCert
)

// Identity is one thing that tells callers apart. See [ParseIdentity].
type Identity struct {
	from source
	name string
}

// ParseIdentity reads one of
//
//	header NAME | cookie NAME | query NAME | client_cert
func ParseIdentity(s string) (Identity, error) {
	words := strings.Fields(s)
	if len(words) == 1 && words[0] == "client_cert" {
		return Identity{from: fromClientCert}, nil
	}
	if len(words) == 2 && (words[0] == "query" || !strings.ContainsFunc(words[1], notInToken)) {
		switch words[0] {
		case "header":
			return Identity{fromHeader, http.CanonicalHeaderKey(words[1])}, nil
		case "cookie":
			return Identity{fromCookie, words[1]}, nil
		case "query":
			return Identity{fromQuery, words[1]}, nil
		}
	}
	return Identity{}, fmt.Errorf("capture: owner %q: want header NAME, cookie NAME, query NAME or client_cert", s)
}

// notInToken reports whether c cannot stand in a token (RFC 9110 §5.6.2), as
// the names of headers and cookies are: such a name would never match.
func notInToken(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
}

// String returns the identity as [ParseIdentity] reads it.
func (i Identity) String() string {
	switch i.from {
	case fromCookie:
		return "cookie " + i.name
	case fromQuery:
		return "query " + i.name
	case fromClientCert:
		return "client_cert"
	case fromHeader:
	}
	return "header " + i.name
}

// values returns what r has of the identity.
func (i Identity) values(r *http.Request) []string {
	switch i.from {
	case fromCookie:
		var values []string
		for _, c := range r.CookiesNamed(i.name) {
			values = append(values, c.Value)
		}
		return values
	case fromQuery:
		if r.URL.RawQuery == "" {
			return nil
		}
		return r.URL.Query()[i.name]
	case fromClientCert:
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			return nil
		}
		return []string{string(r.TLS.PeerCertificates[0].Raw)}
	case fromHeader:
	}
	return r.Header.Values(i.name)
}

// owner is the hash of what identifies a caller. The zero value is nobody: who
// has the id of a stream that nobody owns may read it.
type owner [sha256.Size]byte

func (o owner) nobody() bool { return o == owner{} }

// is compares in constant time.
func (o owner) is(other owner) bool { return subtle.ConstantTimeCompare(o[:], other[:]) == 1 }

var authorization = []Identity{{fromHeader, "Authorization"}}

// ownerOf returns who sent r, as far as the identities tell.
func ownerOf(identities []Identity, r *http.Request) owner {
	if len(identities) == 0 {
		if len(r.Header["Authorization"]) == 0 {
			return owner{}
		}
		identities = authorization
	}
	h, some := sha256.New(), false
	for _, i := range identities {
		values := i.values(r)
		some = some || len(values) > 0
		writeStrings(h, i.String())
		writeStrings(h, values...)
	}
	if !some {
		return owner{}
	}
	return owner(h.Sum(nil))
}

// ambient are headers that carry credentials. Where nobody owns a stream they
// still keep the Idempotency-Keys of different callers apart.
var ambient = []string{"Cookie", "Proxy-Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Auth-Token", "X-Access-Token"}

// keyHash names an Idempotency-Key of one caller.
type keyHash [sha256.Size]byte

// hashKey takes a key with or without the quotes of a structured field's string
// (RFC 9651 §3.3.3), in which the header's draft has it and few clients send it.
func hashKey(own owner, key string, r *http.Request) keyHash {
	if bare, ok := strings.CutPrefix(key, `"`); ok {
		key = strings.TrimSuffix(bare, `"`)
	}
	h := sha256.New()
	writeStrings(h, string(own[:]), key)
	if own.nobody() {
		for _, name := range ambient {
			writeStrings(h, r.Header[http.CanonicalHeaderKey(name)]...)
		}
		writeStrings(h, Identity{from: fromClientCert}.values(r)...)
	}
	return keyHash(h.Sum(nil))
}

// writeStrings hashes a list so that no other list hashes alike.
func writeStrings(h hash.Hash, list ...string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(list)))
	_, _ = h.Write(n[:])
	for _, s := range list {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		_, _ = h.Write(n[:])
		_, _ = io.WriteString(h, s)
	}
}
