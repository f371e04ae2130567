package daemon

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/compress"
	"github.com/fairlead-edge/fairlead/listen"
	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/proxy"
)

// Compress says how responses are coded. It may be written as what to prefer
// alone.
type Compress struct {
	Prefer     Prefer   `yaml:"prefer"`
	MinSize    Size     `yaml:"min_size"`     // smaller bodies are sent as they are
	Types      []string `yaml:"types"`        // further media types that are worth it
	CrossSite  bool     `yaml:"cross_site"`   // also for scripts of other sites
	Dictionary Content  `yaml:"dictionary"`   // of the topics (RFC 9842)
	Share      bool     `yaml:"share"`        // an event is coded once for all readers with the dictionary
	TLSInFront bool     `yaml:"tls_in_front"` // what comes in cleartext came over TLS (RFC 9842 §9.1)
	Memory     Size     `yaml:"memory"`       // of the coders of responses, in all
}

func (c *Compress) word(text string) error { return c.Prefer.parse(text) }

// RouteCompress is what of it a route has of its own. It may be written as what
// to prefer alone.
type RouteCompress struct {
	Prefer     Prefer  `yaml:"prefer"`     // none: as everywhere
	Dictionary Content `yaml:"dictionary"` // of the route's responses
	Decode     bool    `yaml:"decode"`     // of requests, for an upstream that cannot
}

func (c *RouteCompress) word(text string) error { return c.Prefer.parse(text) }

// Prefer says what matters most about a coding, or that there is none.
type Prefer int

// What to prefer.
const (
	PreferAsEverywhere Prefer = iota
	PreferOff
	PreferSpeed
	PreferSize
)

func (p *Prefer) parse(text string) error {
	return choose(p, text, choice[Prefer]{"off", PreferOff}, choice[Prefer]{"speed", PreferSpeed}, choice[Prefer]{"size", PreferSize})
}

// ownDictionaries is where the dictionaries are.
const ownDictionaries = ownPaths + "/dictionaries"

// newDictionary returns nil if the file was not named; match is the pattern of
// the URLs that it is for.
func (c *Compress) newDictionary(file Content, match string) (*compress.Dictionary, error) {
	if file.File == "" {
		return nil, nil //nolint:nilnil // most have none
	}
	// One file may be for several patterns, each of which is told at a path of its own.
	of := sha256.Sum256([]byte(match))
	return compress.NewDictionary(file.content, compress.DictionaryConfig{
		Match: match, Prefix: fmt.Sprintf("%s/%x", ownDictionaries, of[:4]), TLSInFront: c.TLSInFront,
	})
}

// urlPattern is the pattern as RFC 9842 §2.1.1 matches it: there "*" stands for
// anything.
func urlPattern(p Pattern) string { return "/" + strings.ReplaceAll(p.String(), anyMany, anyOne) }

// coders codes responses and decodes requests, as one configuration says.
type coders struct {
	observe      func(compress.Outcome)
	progress     func(compress.Progress)
	cfg          *Config
	budget       *compress.Budget
	ofTopics     *compress.Dictionary
	ofRoutes     map[string]*compress.Dictionary // by pattern
	dictionaries map[string]*compress.Dictionary // all, by path
}

// newCoders reads the dictionaries; budget is that of all configurations.
func newCoders(cfg *Config, budget *compress.Budget, observe func(compress.Outcome), progress func(compress.Progress)) (*coders, error) {
	c := &coders{cfg: cfg, budget: budget, observe: observe, progress: progress, ofRoutes: make(map[string]*compress.Dictionary), dictionaries: make(map[string]*compress.Dictionary)}
	var err error
	if c.ofTopics, err = cfg.Compress.newDictionary(cfg.Compress.Dictionary, cfg.TopicsPrefix+anyOne); err != nil {
		return nil, err
	}
	all := []*compress.Dictionary{c.ofTopics}
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		d, err := cfg.Compress.newDictionary(r.Compress.Dictionary, urlPattern(r.Path))
		if err != nil {
			return nil, err
		}
		c.ofRoutes[r.Path.String()] = d
		all = append(all, d)
	}
	for _, d := range all {
		if d != nil {
			c.dictionaries[d.Path()] = d
		}
	}
	return c, nil
}

// coded counts a response.
func (d *daemon) coded(o compress.Outcome) {
	if !d.counts {
		return
	}
	d.metrics.Coded(observe.Coded{Coding: o.Coding, Reason: o.Reason, Bytes: o.Before})
}

// coding counts what a coder did.
func (d *daemon) coding(p compress.Progress) {
	if d.counts {
		d.metrics.Coding(p.Coding, p.Before, p.After, p.Took)
	}
}

// topics codes what the topics answer, and decodes what is published.
func (c *coders) topics(next http.Handler) http.Handler {
	// Decoders share a budget of the process's own of 64 MiB, not compress.memory,
	// which the readers' coders may use up.
	next = compress.Decode(compress.DecodeConfig{MaxBytes: int64(c.cfg.Limits.Body), Refuse: refuse}, explainBody(next))
	return c.code(PreferAsEverywhere, true, c.ofTopics, next)
}

// streams codes captured streams on their own URLs.
func (c *coders) streams(next http.Handler) http.Handler {
	return c.code(PreferAsEverywhere, true, nil, next)
}

// others codes what Fairlead answers where nothing else does.
func (c *coders) others(next http.Handler) http.Handler {
	return c.code(PreferAsEverywhere, true, nil, next)
}

// route codes what a route answers.
func (c *coders) route(r *Route, next http.Handler) http.Handler {
	if r.Compress.Decode {
		next = compress.Decode(compress.DecodeConfig{Refuse: refuse}, explainBody(next))
	}
	return c.code(r.Compress.Prefer, false, c.ofRoutes[r.Path.String()], next)
}

// code codes what next answers; own: Fairlead makes the responses itself.
func (c *coders) code(prefer Prefer, own bool, d *compress.Dictionary, next http.Handler) http.Handler {
	if prefer == PreferAsEverywhere {
		prefer = c.cfg.Compress.Prefer
	}
	if prefer == PreferOff {
		return next
	}
	cfg := compress.Config{
		MinSize: orNone(int(c.cfg.Compress.MinSize)), Types: c.cfg.Compress.Types, CrossSite: c.cfg.Compress.CrossSite,
		Own: own, Budget: c.budget, Dictionary: d, NoShare: !c.cfg.Compress.Share, Observe: c.observe, Progress: c.progress,
	}
	if prefer == PreferSize {
		cfg.Prefer = compress.Size
	}
	return compress.New(cfg, next)
}

// explainBody gives the failures of decoding their place in the table of codes.
func explainBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = decoded{r.Body, func() { listen.Blame(r.Context()) }}
		}
		next.ServeHTTP(w, r)
	})
}

// decoded is the body of a request, as a handler reads it.
type decoded struct {
	io.ReadCloser

	bomb func() // called for one that becomes too long
}

func (d decoded) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	e, ok := errors.AsType[*compress.DecodeError](err)
	if !ok {
		return n, err
	}
	if e.Status == http.StatusRequestEntityTooLarge {
		d.bomb()
	}
	return n, fmt.Errorf("%w: %w", explain(e), err)
}

// refuse answers a request whose body cannot be decoded.
func refuse(w http.ResponseWriter, r *http.Request, err *compress.DecodeError) {
	proxy.Problem(w, r, explain(err))
}

func explain(e *compress.DecodeError) *fairlead.Error {
	code := fairlead.InvalidArgument
	switch e.Status {
	case http.StatusUnsupportedMediaType:
		code = fairlead.UnsupportedMedia
	case http.StatusRequestEntityTooLarge:
		code = fairlead.TooLarge
	case http.StatusServiceUnavailable:
		code = fairlead.Overloaded
	}
	explained := fairlead.Errorf(code, "%s", e.Err)
	if code == fairlead.Overloaded {
		explained.RetryAfter = time.Second
	}
	return explained
}
