package grpcpool

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Retry says which calls are sent again after a failure. Whatever it says, a
// call that never left the client is sent as soon as there is a connection, and
// one that no server has begun to process, which a refused stream or a GOAWAY
// shows, is sent again by grpc-go itself, but only once and only as its first
// attempt (gRFC A6, "Transparent Retries"); then it has failed with
// [codes.Unavailable] like any other. The presets are [RetryNone] and
// [RetrySafe].
type Retry struct {
	// Attempts is how often a call is sent at most, besides what grpc-go does by
	// itself; default 1: once. At most 5, which is grpc-go's own bound.
	Attempts int
	// Backoff is the wait before the second attempt, ±20 %; it doubles from
	// one to the next up to MaxBackoff. Defaults 100 ms and 2 s. A server that
	// sends grpc-retry-pushback-ms is obeyed instead.
	Backoff, MaxBackoff time.Duration
	// Methods are the calls that may be sent again, as "package.Service" or
	// "package.Service/Method". None: all calls.
	Methods []string
}

// RetryNone sends no call again that a server may have begun to process. It is
// the zero Retry.
func RetryNone() Retry { return Retry{} }

// RetrySafe sends calls of the methods, written as in Retry.Methods, up to three
// times after [codes.Unavailable], as long as nothing of a response came, with
// the default back-off. After five failures in a row no call of the
// channel is sent again until ten succeed for each failure more: retries must
// not finish off a server that is down (gRFC A6). UNAVAILABLE also stands for a
// connection that broke while the server was at work, so name only methods
// that may happen twice.
func RetrySafe(method string, more ...string) Retry {
	return Retry{Attempts: 3, Methods: append([]string{method}, more...)}
}

func (r Retry) check() error {
	switch {
	case r.Attempts < 0 || r.Attempts > 5:
		return errors.New("Retry.Attempts must be from 1 to 5")
	case r.Backoff < 0 || r.MaxBackoff < 0:
		return errors.New("Retry.Backoff and Retry.MaxBackoff must not be negative")
	}
	for _, m := range r.Methods {
		if service, method, found := strings.Cut(m, "/"); service == "" || found && (method == "" || strings.Contains(method, "/")) {
			return fmt.Errorf("Retry.Methods: %q must be package.Service or package.Service/Method", m)
		}
	}
	return nil
}

// The part of gRPC's service config that the pool sets; see
// https://github.com/grpc/grpc/blob/master/doc/service_config.md.
type (
	serviceConfig struct {
		Balancing  []map[string]struct{} `json:"loadBalancingConfig"`
		Methods    []methodConfig        `json:"methodConfig"`
		Throttling *retryThrottling      `json:"retryThrottling,omitempty"`
	}
	methodConfig struct {
		Names        []methodName `json:"name"`
		WaitForReady bool         `json:"waitForReady"`
		Retry        *retryPolicy `json:"retryPolicy,omitempty"`
	}
	methodName struct {
		Service string `json:"service,omitempty"`
		Method  string `json:"method,omitempty"`
	}
	retryPolicy struct {
		Attempts   int      `json:"maxAttempts"`
		Backoff    string   `json:"initialBackoff"`
		MaxBackoff string   `json:"maxBackoff"`
		Multiplier int      `json:"backoffMultiplier"`
		Codes      []string `json:"retryableStatusCodes"`
	}
	retryThrottling struct {
		Tokens int     `json:"maxTokens"`
		Ratio  float64 `json:"tokenRatio"`
	}
)

// serviceConfig returns the service config of channels whose resolver has none.
func (cfg *Config) serviceConfig() string {
	sc := serviceConfig{
		Balancing: []map[string]struct{}{{policyName: {}}},
		Methods:   []methodConfig{{Names: []methodName{{}}, WaitForReady: cfg.WaitForReady}},
	}
	if r := cfg.Retry; r.Attempts > 1 {
		first, last := r.Backoff, r.MaxBackoff
		if first == 0 {
			first = 100 * time.Millisecond
		}
		if last == 0 {
			last = max(first, 2*time.Second)
		}
		policy := &retryPolicy{
			Attempts: r.Attempts, Backoff: seconds(first), MaxBackoff: seconds(last),
			Multiplier: 2, Codes: []string{"UNAVAILABLE"},
		}
		sc.Throttling = &retryThrottling{Tokens: 10, Ratio: 0.1}
		if len(r.Methods) == 0 {
			sc.Methods[0].Retry = policy
		} else {
			m := methodConfig{WaitForReady: cfg.WaitForReady, Retry: policy}
			for _, name := range r.Methods {
				service, method, _ := strings.Cut(name, "/")
				m.Names = append(m.Names, methodName{service, method})
			}
			sc.Methods = append(sc.Methods, m)
		}
	}
	text, err := json.Marshal(sc)
	if err != nil {
		panic("grpcpool: service config: " + err.Error()) // no value of these types fails
	}
	return string(text)
}

// seconds writes d as protobuf's JSON does.
func seconds(d time.Duration) string { return fmt.Sprintf("%.9fs", d.Seconds()) }
