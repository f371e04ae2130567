package interceptor

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"connectrpc.com/connect"
)

// LoggingConfig adjusts [Logging].
type LoggingConfig struct {
	// Logger has the records. Default: slog.Default, as it is when Logging is called.
	Logger *slog.Logger
	// Level is the level of a call's record. Default: LevelOf.
	Level func(Call) slog.Level
	// Every thins out the records of calls that did not fail to one in so many.
	// Default: 1, all.
	Every int
	// Keep says of each call that Every leaves whether it has a record; it may run
	// concurrently. Default: all have.
	Keep func(Call) bool
	// Bytes also counts the bytes of messages, each of which is measured for it.
	// Default: not.
	Bytes bool
	// ErrorText adds to a record at level Error the error's text, at most 256 bytes of
	// it, which may repeat what a caller sent or what an upstream said. Default: not.
	ErrorText bool
}

// maxErrorText is how many bytes of an error's text a record has.
const maxErrorText = 256

// Logging returns an interceptor that makes a record "call" of each call at its end:
// the procedure, the protocol, the code, its time in seconds and the number of
// messages. Records are made with the call's context, from which a slog.Handler may
// take the trace.
func Logging(cfg LoggingConfig) connect.Interceptor {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Level == nil {
		cfg.Level = LevelOf
	}
	l := &logging{LoggingConfig: cfg}
	return &observer{begin: func(Call) {}, over: l.over, bytes: cfg.Bytes}
}

// LevelOf is Error for calls that fail by the server's fault (unknown, internal,
// data_loss); Warn for other failures of a client's calls, but canceled, and for those
// of a handler that its operator may do something about (deadline_exceeded,
// resource_exhausted, unavailable); Info for all else.
func LevelOf(c Call) slog.Level {
	switch codeOf(c.Err) {
	case 0, connect.CodeCanceled:
		return slog.LevelInfo
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeDataLoss:
		return slog.LevelError
	case connect.CodeDeadlineExceeded, connect.CodeResourceExhausted, connect.CodeUnavailable:
		return slog.LevelWarn
	default:
	}
	if c.Client {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

type logging struct {
	LoggingConfig

	well atomic.Uint64 // calls that did not fail
}

func (l *logging) over(ctx context.Context, c Call) {
	level := l.Level(c)
	if !l.Logger.Enabled(ctx, level) {
		return
	}
	if c.Err == nil && l.Every > 1 && (l.well.Add(1)-1)%uint64(l.Every) != 0 {
		return
	}
	if l.Keep != nil && !l.Keep(c) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 13), // all there can be
		slog.String("procedure", c.Procedure), slog.String("protocol", c.Protocol), slog.String("kind", c.Type.String()), slog.Bool("client", c.Client),
		slog.String("code", c.Code()), slog.Float64("duration_seconds", c.Took.Seconds()), slog.Float64("first_seconds", c.First.Seconds()),
		slog.Int64("sent", c.Sent), slog.Int64("received", c.Received), slog.String("peer", c.Peer))
	if l.Bytes {
		attrs = append(attrs, slog.Int64("sent_bytes", c.SentBytes), slog.Int64("received_bytes", c.ReceivedBytes))
	}
	if l.ErrorText && level >= slog.LevelError && c.Err != nil {
		text := c.Err.Error()
		attrs = append(attrs, slog.String("error", strings.ToValidUTF8(text[:min(len(text), maxErrorText)], "")))
	}
	l.Logger.LogAttrs(ctx, level, "call", attrs...)
}
