package daemon

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

// configure sets s up to serve h: HTTP/1.1 and HTTP/2 without TLS on one port.
func configure(s *http.Server, h http.Handler, base context.Context, errors *log.Logger) { //nolint:revive // base is not this call's context
	s.Handler = h
	s.BaseContext = func(net.Listener) context.Context { return base }
	s.ErrorLog = errors
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	// A header that takes longer is a client that holds connections open.
	s.ReadHeaderTimeout = 10 * time.Second
	// Above the 60 s for which load balancers keep idle connections, so that
	// they, who send the next request, are who closes.
	s.IdleTimeout = 75 * time.Second
	// Cookies and a long cursor fit; beyond it the answer is 431.
	s.MaxHeaderBytes = 64 << 10
	// No WriteTimeout, which would end streams: they set deadlines of their own.
	s.HTTP2 = &http.HTTP2Config{
		// Larger frames only delay the other streams of the connection.
		MaxReadFrameSize: 16 << 10,
		// A silent connection is asked every 15 s and given up 15 s later.
		SendPingTimeout: 15 * time.Second,
		PingTimeout:     15 * time.Second,
		// A client that takes no byte for this long is gone.
		WriteByteTimeout: 30 * time.Second,
	}
}

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
