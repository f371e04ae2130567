package daemon

import (
	"io"
	"log/slog"
	"os"
)

// newLogger returns the logger that cfg describes; level changes it later.
func newLogger(w io.Writer, cfg Log, level *slog.LevelVar) *slog.Logger {
	setLevel(level, cfg.Level)
	o := &slog.HandlerOptions{Level: level}
	if cfg.Format == "text" || cfg.Format == "auto" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
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
