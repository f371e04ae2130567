package interceptor

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"connectrpc.com/connect"
)

// LoggingConfig says what Logging writes.
type LoggingConfig struct {
	// Logger takes the records. Default: slog.Default() as it is when the
	// interceptor is made.
	Logger *slog.Logger
	// Level is the level of a call by its code, 0 for one that ended well.
	// Default: LevelOf.
	Level func(connect.Code) slog.Level
	// Every thins out the calls that ended well: one in so many is recorded.
	// Calls that did not are always recorded. Default: 1, all.
	Every int
	// Keep decides for each call that Every has left whether it is recorded. It
	// may run concurrently. Default: all are.
	Keep func(Call) bool
	// Bytes is whether the bytes of messages are counted, for which the size of
	// each is computed. Default: not.
	Bytes bool
}

// maxErrorText is how much of an error's text a record has.
const maxErrorText = 256

// LevelOf is the level at which a call that ended with code is recorded: Error
// for what is a fault of the server (unknown, internal, data_loss), Warn for
// what an operator may do something about (deadline_exceeded, unavailable,
// resource_exhausted, unimplemented), Info for everything else.
func LevelOf(code connect.Code) slog.Level {
	switch code {
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeDataLoss:
		return slog.LevelError
	case connect.CodeDeadlineExceeded, connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeUnimplemented:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// Logging returns an interceptor that writes one record "call" at the end of
// each call: procedure, side, protocol, kind, code, duration_seconds, received
// and sent (messages), first_message_seconds of a stream, received_bytes and
// sent_bytes when they are counted. At level Error it has the error's text,
// cut at 256 bytes; what a caller did wrong is not repeated, as it may be what
// the caller sent. Records have the call's context, for handlers that add a
// trace to them.
func Logging(c LoggingConfig) connect.Interceptor {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Level == nil {
		c.Level = LevelOf
	}
	l := &logging{LoggingConfig: c}
	return &observer{begin: func(context.Context, Call) {}, end: l.end, bytes: c.Bytes}
}

type logging struct {
	LoggingConfig

	well atomic.Uint64 // calls that ended well
}

func (l *logging) end(ctx context.Context, call Call) {
	level := l.Level(call.Code)
	if !l.Logger.Enabled(ctx, level) {
		return
	}
	if call.Code == 0 && l.Every > 1 && (l.well.Add(1)-1)%uint64(l.Every) != 0 {
		return
	}
	if l.Keep != nil && !l.Keep(call) {
		return
	}
	attrs := make([]slog.Attr, 0, 12) // all that follow
	attrs = append(attrs,
		slog.String("procedure", call.Procedure), slog.String("side", call.Side()),
		slog.String("protocol", call.Protocol), slog.String("kind", call.KindName()),
		slog.String("code", call.CodeName()), slog.Float64("duration_seconds", call.Duration.Seconds()),
		slog.Int64("received", call.Received), slog.Int64("sent", call.Sent))
	if l.Bytes {
		attrs = append(attrs, slog.Int64("received_bytes", call.ReceivedBytes), slog.Int64("sent_bytes", call.SentBytes))
	}
	if call.Kind != connect.StreamTypeUnary && call.FirstMessage > 0 {
		attrs = append(attrs, slog.Float64("first_message_seconds", call.FirstMessage.Seconds()))
	}
	if level >= slog.LevelError && call.Err != nil {
		attrs = append(attrs, slog.String("error", cut(call.Err.Error())))
	}
	l.Logger.LogAttrs(ctx, level, "call", attrs...)
}

func cut(text string) string {
	if len(text) <= maxErrorText {
		return text
	}
	return strings.ToValidUTF8(text[:maxErrorText], "") + "…"
}
