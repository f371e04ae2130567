package daemon

import (
	"io"
	"log/slog"
	"os"
)

// newLoggers returns the logger that cfg describes, and the one for the records
// of requests; level changes both later.
func newLoggers(to *logBuffer, cfg Log, level *slog.LevelVar) (log, access *slog.Logger) {
	setLevel(level, cfg.Level)
	terminal := isTerminal(to.to)
	to.handler = newLogHandler(cfg.Format == "text" || cfg.Format == "auto" && terminal, level)
	log, access = slog.New(to.handler(to)), slog.New(to.handler(to.later()))
	if terminal { // somebody looks
		access = log
	}
	return log, access
}

// newLogHandler returns what makes handlers that write text, or JSON.
func newLogHandler(text bool, level slog.Leveler) func(io.Writer) slog.Handler {
	o := &slog.HandlerOptions{Level: level}
	return func(w io.Writer) slog.Handler {
		if text {
			return slog.NewTextHandler(w, o)
		}
		return slog.NewJSONHandler(w, o)
	}
}

func setLevel(to *slog.LevelVar, name string) {
	var l slog.Level
	if l.UnmarshalText([]byte(name)) == nil { // the configuration was checked
		to.Set(l)
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
