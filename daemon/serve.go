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
	o := &slog.HandlerOptions{Level: level}
	terminal := isTerminal(to.to)
	if cfg.Format == "text" || cfg.Format == "auto" && terminal {
		log, access = slog.New(slog.NewTextHandler(to, o)), slog.New(slog.NewTextHandler(to.later(), o))
	} else {
		log, access = slog.New(slog.NewJSONHandler(to, o)), slog.New(slog.NewJSONHandler(to.later(), o))
	}
	if terminal { // somebody looks
		access = log
	}
	return log, access
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
