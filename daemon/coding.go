package daemon

import (
	"net/http"
	"strings"

	"github.com/fairlead-edge/fairlead/compress"
)

// Compress says how responses are coded. It may be written as what to prefer
// alone.
type Compress struct {
	Prefer     Prefer   `yaml:"prefer"`
	MinSize    Size     `yaml:"min_size"`   // smaller bodies are sent as they are
	Types      []string `yaml:"types"`      // further media types that are worth it
	CrossSite  bool     `yaml:"cross_site"` // also for scripts of other sites
	Dictionary Content  `yaml:"dictionary"` // of the topics (RFC 9842)
	Share      bool     `yaml:"share"`      // an event is coded once for all readers with the dictionary
	Memory     Size     `yaml:"memory"`     // of the coders of streams, in all
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

// ownDictionaries is where the dictionaries are, each under its hash.
const ownDictionaries = ownPaths + "/dictionaries"

// urlPattern is the pattern as RFC 9842 §2.1.1 matches it: there "*" stands for
// anything.
func urlPattern(p Pattern) string {
	return "/" + strings.ReplaceAll(p.String(), anyMany, "*")
}

// coding codes what next answers, as is configured for the topics and for all
// routes that say nothing else; own: Fairlead makes the responses itself.
func (c *Config) coding(route RouteCompress, own bool, budget *compress.Budget, next http.Handler) http.Handler {
	prefer := route.Prefer
	if prefer == PreferAsEverywhere {
		prefer = c.Compress.Prefer
	}
	if prefer == PreferOff {
		return next
	}
	cfg := compress.Config{
		MinSize: orNone(int(c.Compress.MinSize)), Types: c.Compress.Types, CrossSite: c.Compress.CrossSite,
		Own: own, Budget: budget, NoShare: !c.Compress.Share,
	}
	if prefer == PreferSize {
		cfg.Prefer = compress.Size
	}
	return compress.New(cfg, next)
}
