package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// loaded returns the upstream u of a file.
func loaded(t *testing.T, text string) Upstream {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fairlead.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(Options{Config: file})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Upstreams["u"]
}

func TestEachKeyOfAnUpstreamReachesItsPool(t *testing.T) {
	t.Parallel()
	u := loaded(t, `
upstreams:
  u:
    endpoints: ["h2c://a", "dns+h2c://b:1"]
    pool: {max_connections: 1, min_idle: 1, max_in_flight: 3, max_streams: 4, max_dials: 5, dial_timeout: 6s, idle_timeout: 7s, max_age: 8s,
      max_requests: 9, queue: 10, wait_timeout: 11s, attempts: 12, retry_budget: 13%, replay_body: 14, response_timeout: 15s, kernel_proof: true}
    health: {kind: grpc, service: s, interval: 17s, unhealthy_interval: 18s, timeout: 16s, unhealthy: 20, healthy: 21}
    outliers: {consecutive: 22, failure_rate: 23%, min_requests: 24, window: 25s, time: 26s, max_share: 27%}
    balance: hash header X-User
    slow_start: 28s
    server_timing: true
`)
	got, err := u.config("u")
	if err != nil {
		t.Fatal(err)
	}
	want := upstream.Config{
		Name: "u", Endpoints: []string{"h2c://a", "dns+h2c://b:1"},
		Connections: upstream.Connections{
			Max: 1, MinIdle: 1, MaxInFlight: 3, MaxStreams: 4, MaxDials: 5, DialTimeout: 6 * time.Second, IdleTimeout: 7 * time.Second,
			MaxAge: 8 * time.Second, MaxRequests: 9,
		},
		Queue: upstream.Queue{Length: 10, Timeout: 11 * time.Second},
		Retry: upstream.Retry{Attempts: 12, Budget: 0.13, Body: 14, ResponseTimeout: 15 * time.Second, KernelProof: true},
		Health: upstream.Health{
			Kind: "grpc", Service: "s", Interval: 17 * time.Second, UnhealthyInterval: 18 * time.Second, Timeout: 16 * time.Second,
			Unhealthy: 20, Healthy: 21,
		},
		Outliers: upstream.Outliers{
			Consecutive: 22, FailureRate: 0.23, MinRequests: 24, Window: 25 * time.Second, Time: 26 * time.Second, MaxShare: 0.27,
		},
		Balance:      upstream.Balance{Policy: "hash", Source: "header X-User", SlowStart: 28 * time.Second},
		ServerTiming: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAZeroOfTheFileIsNoneInThePool(t *testing.T) {
	t.Parallel()
	u := loaded(t, `upstreams: {u: {endpoints: [http://a], pool: {max_age: 0s, queue: 0, retry_budget: 0, replay_body: 0}, `+
		`outliers: {consecutive: 0, failure_rate: 0}, slow_start: 0s}}`)
	cfg, err := u.config("u")
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]float64{
		"max_age": float64(cfg.Connections.MaxAge), "queue": float64(cfg.Queue.Length), "retry_budget": cfg.Retry.Budget,
		"replay_body": float64(cfg.Retry.Body), "consecutive": float64(cfg.Outliers.Consecutive), "slow_start": float64(cfg.Balance.SlowStart),
	} {
		if n >= 0 {
			t.Errorf("%s: 0 becomes %v, want less than 0", name, n)
		}
	}
	if cfg.Outliers.FailureRate <= 1 {
		t.Errorf("failure_rate: 0 becomes %v, want more than 1", cfg.Outliers.FailureRate)
	}
}

func TestWhatIsAcceptedHereThePoolAcceptsToo(t *testing.T) {
	t.Parallel()
	for _, keys := range []string{
		"preserve_host: true",
		"pool: {max_age: 0s, queue: 0, retry_budget: 0, replay_body: 0, max_requests: 0, response_timeout: 0s}, slow_start: 0s",
		"pool: {max_age: 1ms, idle_timeout: 1ms, retry_budget: 100%}",
		"pool: {max_connections: 1, max_streams: 1, max_dials: 1, attempts: 1, dial_timeout: 1ns, wait_timeout: 1ns}",
		"health: {path: '/healthz?full=1', interval: 1s}",
		"health: {path: /, interval: 1ms, unhealthy_interval: 1ms, timeout: 1ms, unhealthy: 1, healthy: 1}",
		"health: {kind: tcp}",
		"health: {kind: grpc, service: a.B}",
		"outliers: {consecutive: 0, failure_rate: 0, min_requests: 1, window: 1ns, time: 5m, max_share: 1}",
		"outliers: {failure_rate: 100%, max_share: 0.0001}",
		"outliers: off, balance: sticky",
		"balance: sticky name, server_timing: true",
		"balance: hash cookie name",
		"tls: {server_name: a}",
	} {
		u := loaded(t, "upstreams: {u: {endpoints: [h2c://127.0.0.1:1, https://127.0.0.1:1, file:/gone], "+keys+"}}")
		p, err := newPool("u", &u, true, slog.Default(), nil)
		if err != nil {
			t.Errorf("%s: %v", keys, err)
			continue
		}
		p.Close()
	}
}

func TestACertificateThatWasReplacedIsAnotherConfiguration(t *testing.T) {
	t.Parallel()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	var was Content
	for i, content := range []string{"one", "one", "two"} {
		if err := os.WriteFile(ca, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var now Content
		if err := now.parse(ca); err != nil {
			t.Fatal(err)
		}
		same := Upstream{TLS: ClientTLS{CA: was}}.samePool(Upstream{TLS: ClientTLS{CA: now}})
		if want := i == 1; same != want {
			t.Errorf("reading %d: the same is %v", i, same)
		}
		was = now
	}
}
