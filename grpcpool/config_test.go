package grpcpool_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fairlead-edge/fairlead/grpcpool"
)

func TestWithoutCredentialsNewSaysWhatToSet(t *testing.T) {
	_, err := grpcpool.New("localhost:1", grpcpool.Config{})
	if err == nil || !strings.Contains(err.Error(), "Config.DialOptions") || !strings.Contains(err.Error(), "WithTransportCredentials") {
		t.Error(err)
	}
}

func TestWhatCannotBeIsAnErrorThatSaysSo(t *testing.T) {
	for want, c := range map[string]struct {
		target string
		cfg    grpcpool.Config
	}{
		"must be a name":                  {"", grpcpool.Config{}},
		"resolves the scheme nowhere;":    {"nowhere://x/y", grpcpool.Config{}},
		"MinChannels must not":            {"x", grpcpool.Config{MinChannels: -1}},
		"MaxChannels must not":            {"x", grpcpool.Config{MaxChannels: -1}},
		"from MinChannels, 3, to 256":     {"x", grpcpool.Config{MinChannels: 3, MaxChannels: 2}},
		"from MinChannels, 1, to 256":     {"x", grpcpool.Config{MaxChannels: 257}},
		"StreamsPerConnection must not":   {"x", grpcpool.Config{StreamsPerConnection: -1}},
		"Keepalive is none":               {"x", grpcpool.Config{Keepalive: 3}},
		"Attempts must be from 1 to 5":    {"x", grpcpool.Config{Retry: grpcpool.Retry{Attempts: 6}}},
		"MaxBackoff must not be negative": {"x", grpcpool.Config{Retry: grpcpool.Retry{Backoff: -1}}},
		`"/a.B/C" must be`:                {"x", grpcpool.Config{Retry: grpcpool.RetrySafe("/a.B/C")}},
		`"a.B/" must be`:                  {"x", grpcpool.Config{Retry: grpcpool.RetrySafe("a.B/")}},
		"service config is invalid":       {"x", grpcpool.Config{DialOptions: []grpc.DialOption{grpc.WithDefaultServiceConfig("{")}}},
	} {
		c.cfg.DialOptions = append(c.cfg.DialOptions, grpc.WithTransportCredentials(insecure.NewCredentials()))
		p, err := grpcpool.New(c.target, c.cfg)
		if err == nil || !strings.HasPrefix(err.Error(), "grpcpool: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if err == nil {
			_ = p.Close()
		}
	}
}

// warned returns a logger, and how often it has warned.
func warned() (logger *slog.Logger, times func() int) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), func() int { return strings.Count(b.String(), "share it") }
}

func TestTheThirdPoolOfATargetIsWarnedAboutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, times := warned()
		cfg := grpcpool.Config{DialOptions: serveMemory(t, &echo{}), Logger: logger}
		open(t, "passthrough:///other", cfg)
		for i, want := range []int{0, 0, 1, 1} {
			p := open(t, "passthrough:///third", cfg)
			if n := times(); n != want {
				t.Errorf("%d warnings after pool %d", n, i+1)
			}
			if s := p.Stats(); s.Others != i {
				t.Errorf("%d others, want %d", s.Others, i)
			}
		}
	})
}

func TestAPoolForEachCallIsWarnedAboutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, times := warned()
		cfg := grpcpool.Config{DialOptions: serveMemory(t, &echo{}), Logger: logger}
		call := func() {
			p := open(t, "passthrough:///each", cfg)
			if err := unary(t.Context(), p); err != nil {
				t.Error(err)
			}
			_ = p.Close()
		}
		for range 20 { // as a job that runs every minute has the right to
			call()
			time.Sleep(time.Minute)
		}
		if n := times(); n != 0 {
			t.Errorf("%d warnings about one a minute", n)
		}
		for range 20 {
			call()
		}
		if n := times(); n != 1 {
			t.Errorf("%d warnings", n)
		}
	})
}
