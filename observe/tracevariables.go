package observe

import (
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"golang.org/x/net/http/httpguts"
)

// collectorHeaders are those of the variables that OTLP has for them: pairs of a name
// and a percent-encoded value, name=value, separated by commas
// (opentelemetry.io/docs/specs/otel/protocol/exporter). An error has no value in it,
// which may be a secret.
func collectorHeaders() (map[string]string, error) {
	all := make(map[string]string)
	for _, variable := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} { // the latter wins
		pairs, err := variablePairs(variable)
		if err != nil {
			return nil, err
		}
		for name, value := range pairs {
			if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
				return nil, fmt.Errorf("observe: tracing: %s: %q with its value is no header; want name=value, with %%XX for what is special", variable, shortKey(name))
			}
			all[textproto.CanonicalMIMEHeaderKey(name)] = value
		}
	}
	return all, nil
}

// variablePairs reads a variable of pairs; one that is not set or empty has none.
func variablePairs(variable string) (map[string]string, error) {
	pairs := make(map[string]string)
	text := os.Getenv(variable)
	if strings.TrimSpace(text) == "" {
		return pairs, nil
	}
	for i, pair := range strings.Split(text, ",") {
		name, value, two := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		if !two || name == "" { // which part is the secret is not known
			return nil, fmt.Errorf("observe: tracing: %s: pair %d is not name=value; a comma in a value is %%2C", variable, i+1)
		}
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("observe: tracing: %s: the value of %q has a %% that two hexadecimal digits do not follow; a percent sign is %%25", variable, shortKey(name))
		}
		pairs[name] = decoded
	}
	return pairs, nil
}

// shortKey bounds a name in an error, in bytes.
func shortKey(name string) string { return strings.ToValidUTF8(name[:min(len(name), 50)], "") }

// complaints are what OpenTelemetry says of the variables that it reads by itself; its
// own logger would print their values.
type complaints struct {
	mu  sync.Mutex
	all []error
}

// listen makes this the logger of OpenTelemetry, of which a process has one.
func (c *complaints) listen() { otel.SetLogger(logr.New(c)) }

// err returns what was said since listen.
func (c *complaints) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.all...)
}

// Init is there for logr.
func (c *complaints) Init(logr.RuntimeInfo) {}

// Enabled says that nothing but errors is wanted.
func (c *complaints) Enabled(int) bool { return false }

// Info drops what is said.
func (c *complaints) Info(int, string, ...any) {}

// Error keeps what could not be done, without what with.
func (c *complaints) Error(_ error, what string, _ ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) < 10 {
		c.all = append(c.all, fmt.Errorf("observe: tracing: a variable OTEL_EXPORTER_OTLP_… is wrong, mend or unset it: %s", what))
	}
}

// WithValues returns c itself: values are not kept.
func (c *complaints) WithValues(...any) logr.LogSink { return c }

// WithName returns c itself.
func (c *complaints) WithName(string) logr.LogSink { return c }
