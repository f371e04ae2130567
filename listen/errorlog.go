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

// maxErrorLine bounds a line, in bytes; the stack of a panic is longer.
const maxErrorLine = 500

// NewErrorLog returns a logger for what net/http has to say: its lines are warnings of
// to, those of TLS handshakes that failed of level debug. From the first quotation mark
// on they are cut, since they quote what a peer sent, but for the panics of handlers.
func NewErrorLog(to *slog.Logger) *log.Logger { return log.New(errorLog{to}, "", 0) }

// Write logs a line.
func (e errorLog) Write(line []byte) (int, error) {
	text := strings.TrimSuffix(string(line), "\n")
	before, _, quotes := strings.Cut(text, `"`)
	if strings.Contains(before, "panic serving") { // before: a peer may send these words too
		e.to.Warn(text)
		return len(line), nil
	}
	if quotes {
		text = before + "…"
	}
	text = strings.ToValidUTF8(text[:min(len(text), maxErrorLine)], "")
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
