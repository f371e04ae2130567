package compress

import (
	"net/http"
	"slices"
	"time"
)

// Config says how responses are coded. The zero value is the default.
type Config struct {
	// Prefer says what matters most. Default [Speed].
	Prefer Prefer

	// MinSize is the smallest body that is coded, in bytes: below it the headers
	// weigh more. A stream is coded whatever its size. Default 1024; negative:
	// bodies of every size are.
	MinSize int

	// Types are media types to code besides those that [Codable] lists. nil: no
	// further ones.
	Types []string

	// CrossSite codes the responses to what other sites' pages ask for, too. Who
	// sees how long they are on the wire, and has a page that makes a victim's
	// browser ask for his text beside a secret, can guess the secret (BREACH).
	// false withholds him what he measures by. It needs browsers that send Fetch
	// Metadata, which they do over https, and exempts links and frames and what
	// the site's own pages ask for: where a response shows text of others beside
	// a secret, turn coding off. Random padding would only make him ask more
	// often, so there is none. Default false.
	CrossSite bool

	// Own says that the handler makes its responses itself, so that no-transform
	// is meant for those who come after this one. false: it is obeyed (RFC 9111
	// §5.2.2.6).
	Own bool

	// Budget bounds the memory of coders. nil: [DefaultBudget].
	Budget *Budget

	// Dictionary is what clients that have it get responses coded with
	// (RFC 9842). nil: none.
	Dictionary *Dictionary

	// NoShare gives each stream with the dictionary a coder of its own. false:
	// what several streams write alike is coded once for all.
	NoShare bool

	// Observe is told of each response that could have been coded, when it is
	// over; it must not block. nil: nobody is.
	Observe func(Outcome)

	// Progress is told what coders have done since it was told before, at each
	// flush and at the end of a response; it must not block. nil: nobody is.
	Progress func(Progress)
}

// Prefer says what matters most about a coding.
type Prefer int

const (
	// Speed prefers zstd, then brotli and gzip, each at a fast level.
	Speed Prefer = iota
	// Size prefers brotli, then zstd and gzip, each at a level that takes two to
	// five times longer, for slow links.
	Size
)

// Outcome is what became of a response.
type Outcome struct {
	// Coding is the content coding, "" for none.
	Coding string
	// Reason says why there is none: "not accepted", "small", "cross-site", "no
	// memory" and "no-transform"; "" with a coding.
	Reason string
	// Before and After are the bytes of the body, as the handler wrote it and as
	// it was sent.
	Before, After int64
}

// Progress is what a coder has done.
type Progress struct {
	// Coding is the content coding.
	Coding string
	// Before and After are bytes of the body, as the handler wrote it and as it was
	// sent.
	Before, After int64
	// Took is how long the coder took, the sending left out.
	Took time.Duration
}

// handler is the middleware.
type handler struct {
	cfg  Config
	next http.Handler
}

// New returns a handler that codes what next answers.
func New(cfg Config, next http.Handler) http.Handler {
	switch {
	case cfg.MinSize == 0:
		cfg.MinSize = 1024
	case cfg.MinSize < 0:
		cfg.MinSize = 1 // of nothing there is nothing to code
	}
	if cfg.Budget == nil {
		cfg.Budget = DefaultBudget
	}
	cfg.Types = slices.Clone(cfg.Types)
	for i, t := range cfg.Types {
		cfg.Types[i] = mediaType(t)
	}
	return &handler{cfg: cfg, next: next}
}

// ServeHTTP codes the response to r.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect || upgrades(r) {
		h.next.ServeHTTP(w, r) // what follows is not a body
		return
	}
	cw := &writer{ResponseWriter: w, h: h, r: r}
	complete := false
	defer func() { cw.free(complete) }()
	h.next.ServeHTTP(cw, r)
	if complete = cw.finish(); !complete {
		panic(http.ErrAbortHandler) // nothing may look like its end
	}
}

// upgrades reports whether r asks to leave HTTP, which it does only when
// Connection says so (RFC 9110 §7.8).
func upgrades(r *http.Request) bool {
	return r.Header["Upgrade"] != nil && contains(r.Header["Connection"], "upgrade")
}

// plan is how a response will be coded.
type plan struct {
	codec  *codec // nil: not at all
	reason string // why it is that; "": its type never is
	must   bool   // the client refuses what is not coded
}

func (p *plan) name() string {
	if p.codec == nil {
		return ""
	}
	return p.codec.name
}

// choose decides on the coding of a response that could have one. What it reads
// of the request stands in Vary, except which site asks: what a cache holds was
// not made from what an attacker asks now.
func (h *handler) choose(r *http.Request, header http.Header) plan {
	accepted := parseAccept(r.Header["Accept-Encoding"])
	must := accepted.identity == 0
	contentType := header.Get("Content-Type")
	switch {
	case contentType == "", !must && !h.codable(contentType):
		return plan{}
	case !h.cfg.Own && noTransform(header):
		return plan{reason: "no-transform"}
	}
	vary(header, "Accept-Encoding")
	if !h.cfg.CrossSite && ofAnotherSite(r) {
		return plan{reason: "cross-site"}
	}
	order := bySpeed
	if h.cfg.Prefer == Size {
		order = bySize
	}
	if d := h.cfg.Dictionary; d != nil {
		order = append(d.offer(r, header, &h.cfg), order...)
	}
	if c := accepted.best(order); c != nil {
		return plan{codec: c, must: must}
	}
	return plan{reason: "not accepted"}
}

// ofAnotherSite reports whether a page of another site had its browser make the
// request (W3C Fetch Metadata), other than to show the answer as a page.
func ofAnotherSite(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate"
}
