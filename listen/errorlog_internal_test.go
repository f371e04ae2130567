package listen

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestOnlyFailedHandshakesAreForWhoLooksForThem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line  string
		level string
		hint  bool
	}{
		{"http: TLS handshake error from 192.0.2.1:1: EOF", "DEBUG", false},
		{"http: TLS handshake error from 192.0.2.1:1: remote error: tls: unknown certificate authority", "DEBUG", true},
		{"http: TLS handshake error from 192.0.2.1:1: remote error: tls: bad certificate", "DEBUG", true},
		{"http: TLS handshake error from 192.0.2.1:1: local error: tls: bad record MAC", "DEBUG", true},
		{"http: panic serving 192.0.2.1:1: bad record MAC", "WARN", false},
	} {
		var out bytes.Buffer
		newErrorLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))).Print(c.line)
		got := out.String()
		if strings.Count(got, "\n") != 1 || !strings.Contains(got, "level="+c.level+" msg=\""+c.line+"\"") || strings.Contains(got, "hint=") != c.hint {
			t.Errorf("%s: got %s", c.line, got)
		}
	}
}
