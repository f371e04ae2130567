package daemon

import (
	"strings"

	"github.com/fairlead-edge/fairlead/upstream"
)

// Endpoint is where a copy of an upstream listens, or where such places are
// written down; see [upstream.ParseSource].
type Endpoint string

func (e *Endpoint) parse(text string) error {
	if _, _, err := upstream.ParseSource(text); err != nil {
		return without("upstream: ", err)
	}
	*e = Endpoint(text)
	return nil
}

// plain returns the endpoint in the one spelling that all of its have.
func (e Endpoint) plain() string {
	if p, err := upstream.ParseEndpoint(string(e)); err == nil {
		return p.String()
	}
	return string(e)
}

// scheme returns how the endpoint is spoken to: http, https, h2c, unix, or
// file when only that file tells.
func (e Endpoint) scheme() string {
	scheme, _, _ := strings.Cut(strings.ToLower(string(e)), ":")
	scheme = strings.TrimPrefix(scheme, "dns+")
	return strings.TrimPrefix(scheme, "srv+")
}

// Balance chooses the endpoint of each request; see [upstream.ParseBalance].
type Balance struct{ upstream.Balance }

func (b *Balance) parse(text string) error {
	v, err := upstream.ParseBalance(text)
	b.Balance = v
	return without("upstream: ", err)
}
