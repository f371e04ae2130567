package compress

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/molecule-man/go-brrr"
)

// The bounds of a dictionary's content, in bytes. Below the least it saves less
// than its own hash costs; beyond the most, coders with it hold more memory and
// take longer to set up than the rare matches are worth.
const (
	MinDictionary = 256
	MaxDictionary = 1 << 20
)

// DictionaryConfig says where a dictionary is, and for what.
type DictionaryConfig struct {
	// Match is the pattern of the URLs of which the responses are coded with the
	// dictionary: a path, in which "*" stands for anything, such as "/topics*"
	// (RFC 9842 §2.1.1). It has no regular expressions and so no parentheses. The responses to GET and
	// HEAD whose path it matches tell clients of the dictionary.
	Match string

	// ID is a name that clients send back as Dictionary-ID, for what stands in
	// front of this server; the server itself goes by the hash. At most 1024
	// characters of printable ASCII. "": none.
	ID string

	// Prefix is the path under which [Dictionary.ServeHTTP] is reached, as
	// [Dictionary.Path] says in full. Default "/dictionaries".
	Prefix string

	// TLSInFront says that requests in cleartext have come over TLS, which ended
	// before this server. false: over cleartext only localhost, which browsers
	// trust like TLS, gets responses with the dictionary (RFC 9842 §9.1).
	TLSInFront bool
}

// Dictionary is content that the server shares with clients, so that responses
// that look like it are coded by reference to it (RFC 9842): content codings dcz
// (zstd) and dcb (brotli). A client that has fetched the dictionary names its
// hash in Available-Dictionary; any other gets the usual codings.
//
// Everybody can read a dictionary, and the length of a response shows what of it
// is in there: it must hold no data of a user, only what all responses have in
// common, such as a few made-up ones one after the other, the likeliest last.
//
// It is an http.Handler that serves the dictionary itself, at the path that Path
// returns. Its methods may be called concurrently.
type Dictionary struct {
	content   []byte
	hash      [sha256.Size]byte
	match     string
	path      string
	useAs     string // Use-As-Dictionary
	link      string // Link
	etag      string
	anyScheme bool

	dcz, dcb *codec
	shared   *codec        // dcz of events
	events   *zstd.Encoder // whole frames, for any number of goroutines
	frames   frames
}

// NewDictionary returns a dictionary of content, from [MinDictionary] to
// [MaxDictionary] bytes, which must not change any more. It fails when the size,
// the pattern or the id cannot be used.
func NewDictionary(content []byte, cfg DictionaryConfig) (*Dictionary, error) {
	if len(content) < MinDictionary || len(content) > MaxDictionary {
		return nil, fmt.Errorf("compress: dictionary of %d bytes: give it %d to %d", len(content), MinDictionary, MaxDictionary)
	}
	if err := validMatch(cfg.Match); err != nil {
		return nil, fmt.Errorf("compress: dictionary for %q: %w", cfg.Match, err)
	}
	if len(cfg.ID) > 1024 || !printable(cfg.ID) {
		return nil, errors.New("compress: dictionary: its id is over 1024 characters or has some that are not printable ASCII")
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "/dictionaries"
	}
	if !strings.HasPrefix(cfg.Prefix, "/") || !printable(cfg.Prefix) || strings.ContainsAny(cfg.Prefix, " <>?#") {
		return nil, fmt.Errorf("compress: dictionary under %q: it must be a path that begins with /", cfg.Prefix)
	}
	prepared, err := brrr.PrepareDictionary(content)
	if err != nil {
		return nil, fmt.Errorf("compress: dictionary: %w", err)
	}
	d := &Dictionary{content: content, hash: sha256.Sum256(content), match: cfg.Match, anyScheme: cfg.TLSInFront}
	name := hex.EncodeToString(d.hash[:])
	d.path = strings.TrimRight(cfg.Prefix, "/") + "/" + name
	d.link = "<" + d.path + `>; rel="compression-dictionary"`
	d.etag = strconv.Quote(name)
	d.useAs = "match=" + quoted(cfg.Match)
	if cfg.ID != "" {
		d.useAs += ", id=" + quoted(cfg.ID)
	}
	d.dcz, d.dcb = d.newDCZ(), d.newDCB(prepared)
	d.events = newEventEncoder(content)
	d.shared = &codec{name: "dcz", body: d.newOnce, stream: d.newOnce}
	return d, nil
}

// validMatch reports what is wrong with a pattern (RFC 9842 §2.1.1): it is of
// this origin when it is a path, and without groups no regular expression.
func validMatch(match string) error {
	switch {
	case match == "":
		return errors.New("it has no pattern of URLs to be used for; give it one, such as /topics*")
	case !strings.HasPrefix(match, "/"), strings.HasPrefix(match, "//"), strings.HasPrefix(match, `/\`):
		return errors.New("its pattern must be a path of this origin, which begins with one /")
	case strings.ContainsAny(match, "()"):
		return errors.New("its pattern has parentheses; RFC 9842 has no regular expressions")
	case !printable(match) || strings.ContainsAny(match, " #"):
		return errors.New("its pattern has characters that a URL has only percent-encoded, or a #")
	}
	return nil
}

// printable reports whether s can be a string of a structured field.
func printable(s string) bool {
	return !slices.ContainsFunc([]byte(s), func(c byte) bool { return c < ' ' || c > '~' })
}

// quoted returns s as a string of a structured field (RFC 9651 §4.1.6).
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// Hash returns the SHA-256 of the content.
func (d *Dictionary) Hash() [sha256.Size]byte { return d.hash }

// Available returns what a client that has the dictionary sends as
// Available-Dictionary: its hash as a byte sequence of a structured field
// (RFC 9842 §2.2).
func (d *Dictionary) Available() string {
	return ":" + base64.StdEncoding.EncodeToString(d.hash[:]) + ":"
}

// Path returns the path at which the dictionary is to be served, which names its
// hash: another content has another path.
func (d *Dictionary) Path() string { return d.path }

// ServeHTTP serves the dictionary to those who keep it for a month, and says
// what it is for (RFC 9842 §2.1).
func (d *Dictionary) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "a dictionary can only be read", http.StatusMethodNotAllowed)
		return
	}
	header.Set("Use-As-Dictionary", d.useAs)
	header.Set("Cache-Control", "public, max-age=2592000, immutable")
	header.Set("Etag", d.etag)
	// A type that no browser shows and nobody codes: the hash is that of the bytes
	// that are sent.
	header.Set("Content-Type", "application/octet-stream")
	if !noneMatch(r, d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(d.content)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(d.content) //nolint:gosec // it is the operator's
	}
}

// noneMatch evaluates If-None-Match (RFC 9110 §13.1.2).
func noneMatch(r *http.Request, etag string) bool {
	for _, line := range r.Header["If-None-Match"] {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return false
			}
		}
	}
	return true
}
