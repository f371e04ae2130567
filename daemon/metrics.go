package daemon

import (
	"strings"

	"github.com/fairlead-edge/fairlead/topic"
)

// Metrics says what is counted. It may be written as enabled alone.
type Metrics struct {
	Enabled    bool     `yaml:"enabled"`
	EventTypes []string `yaml:"event_types"` // of events that are counted by themselves
}

func (m *Metrics) word(text string) error {
	return choose(&m.Enabled, text, choice[bool]{"true", true}, choice[bool]{"false", false})
}

// Each type has series of its own, and each series its place in every scrape.
const (
	maxEventTypes = 32
	maxEventType  = 64
)

// metrics looks at the types of events.
func (v *validator) metrics() {
	const path = "metrics.event_types"
	types := v.cfg.Metrics.EventTypes
	if len(types) > maxEventTypes {
		v.reportf(path, "these are %d types; at most %d are counted by themselves", len(types), maxEventTypes)
	}
	seen := make(map[string]bool, len(types))
	for i, typ := range types {
		at := index(path, i)
		switch {
		case typ == "" || len(typ) > maxEventType:
			v.reportf(at, "a type of events has 1 to %d bytes here", maxEventType)
		case typ == otherType:
			v.reportf(at, "%q is what all the types that are not listed count as", typ)
		case seen[typ]:
			v.reportf(at, "%q stands here a second time", typ)
		}
		seen[typ] = true
	}
}

// otherType is what the types count as that are not listed.
const otherType = "other"

// policyNames returns the names of the delivery policies, without their numbers, by
// the patterns of topics.
func (c *Config) policyNames() map[string]string {
	all := map[string]string{anyMany: policyName(topic.Policy{})}
	for i := range c.Topics {
		all[c.Topics[i].Match.String()] = policyName(c.Topics[i].policy())
	}
	return all
}

func policyName(p topic.Policy) string {
	name, _, _ := strings.Cut(p.String(), " ")
	if p.Rate > 0 {
		name += " at most"
	}
	return name
}
