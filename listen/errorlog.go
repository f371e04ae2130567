package listen

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// errorLog is where net/http writes what goes wrong on connections, a line a
// call. Handshakes fail as often as somebody scans the network, so they are for
// who looks for one.
type errorLog struct{ to *slog.Logger }

func newErrorLog(to *slog.Logger) *log.Logger { return log.New(errorLog{to}, "", 0) }

// Write logs a line.
func (e errorLog) Write(line []byte) (int, error) {
	text := strings.TrimSuffix(string(line), "\n")
	if !strings.HasPrefix(text, "http: TLS handshake error") {
		e.to.Warn(text)
		return len(line), nil
	}
	var more []slog.Attr
	for _, alert := range []string{"bad record MAC", "unknown certificate", "bad certificate"} {
		if strings.Contains(text, alert) {
			more = []slog.Attr{slog.String("hint", "often the client does not trust the certificate")}
		}
	}
	e.to.LogAttrs(context.Background(), slog.LevelDebug, text, more...)
	return len(line), nil
}
