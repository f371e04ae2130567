package observe

import (
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"golang.org/x/net/http/httpguts"
)

// otlpVariable returns the variable of OTLP that says something, and what it says: the
// one of traces alone, where that is set, for the one of all signals
// (opentelemetry.io/docs/specs/otel/protocol/exporter). Blank is as not set.
func otlpVariable(what string) (name, value string) {
	for _, name = range []string{"OTEL_EXPORTER_OTLP_TRACES_" + what, "OTEL_EXPORTER_OTLP_" + what} {
		if value = strings.TrimSpace(os.Getenv(name)); value != "" {
			break
		}
	}
	return name, value
}

// collectorHeaders are those of the variable that OTLP has for them: pairs of a name
// and a percent-encoded value, name=value, separated by commas. An error has no value
// in it, which may be a secret.
func collectorHeaders() (map[string]string, error) {
	variable, _ := otlpVariable("HEADERS")
	pairs, err := variablePairs(variable)
	if err != nil {
		return nil, err
	}
	all := make(map[string]string)
	for name, value := range pairs {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("observe: tracing: %s: %q with its value is no header; want name=value, with %%XX for what is special", variable, shortKey(name))
		}
		all[textproto.CanonicalMIMEHeaderKey(name)] = value
	}
	return all, nil
}

// checkResource looks at the variables that the resource is made of. Text that is not
// UTF-8 would keep every batch from being encoded.
func checkResource() error {
	const attributes, service = "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"
	pairs, err := variablePairs(attributes)
	if err != nil {
		return err
	}
	for name, value := range pairs {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return fmt.Errorf("observe: tracing: %s: %q with its value is not UTF-8", attributes, shortKey(name))
		}
	}
	if !utf8.ValidString(os.Getenv(service)) {
		return errors.New("observe: tracing: " + service + " is not UTF-8")
	}
	return nil
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
// own logger and error handler would print their values.
type complaints struct {
	mu  sync.Mutex
	all []error
}

// listen makes this the logger and the error handler of OpenTelemetry, of which a
// process has one each.
func (c *complaints) listen() {
	otel.SetLogger(logr.New(c))
	otel.SetErrorHandler(c)
}

// quiet drops all that OpenTelemetry says from now on, but to the error handler.
func quiet() { otel.SetLogger(logr.Discard()) }

// Handle drops an error: what fails of an export the exporter tells, and what else
// comes is about variables that say nothing here, such as OTEL_TRACES_SAMPLER.
func (c *complaints) Handle(error) {}

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
