package listen

import (
	"bytes"
	"encoding/json"
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
		NewErrorLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))).Print(c.line)
		got := out.String()
		if strings.Count(got, "\n") != 1 || !strings.Contains(got, "level="+c.level+" msg=\""+c.line+"\"") || strings.Contains(got, "hint=") != c.hint {
			t.Errorf("%s: got %s", c.line, got)
		}
	}
}

func TestWhatAPeerSentIsNotLogged(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`Unsolicited response received on idle HTTP channel starting with "secret"; err=<nil>`:               "Unsolicited response received on idle HTTP channel starting with …",
		`Unsolicited response received on idle HTTP channel starting with "panic serving secret"; err=<nil>`: "Unsolicited response received on idle HTTP channel starting with …",
		"http: panic serving 192.0.2.1:1: the \"cause\"":                                                     "http: panic serving 192.0.2.1:1: the \"cause\"",
		strings.Repeat("x", 2*maxErrorLine):                                                                  strings.Repeat("x", maxErrorLine),
	} {
		var out bytes.Buffer
		NewErrorLog(slog.New(slog.NewJSONHandler(&out, nil))).Print(line)
		var got struct{ Msg string }
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Msg != want {
			t.Errorf("%q, %v", got.Msg, err)
		}
	}
}
