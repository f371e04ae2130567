package interceptor

import (
	"context"
	"log/slog"

	"connectrpc.com/connect"
)

// Logging returns an interceptor that makes a record "call" of each call at its end:
// the procedure, the protocol, the code, its time in seconds and the number of
// messages. Calls that fail by the server's fault (unknown, internal, data_loss) are
// errors, other failures warnings of a client's calls and informations of a
// handler's, as what goes well is. nil: slog.Default.
func Logging(log *slog.Logger) connect.Interceptor {
	if log == nil {
		log = slog.Default()
	}
	return Observe(func(c Call) {
		log.LogAttrs(context.Background(), levelOf(&c), "call",
			slog.String("procedure", c.Procedure), slog.String("protocol", c.Protocol), slog.String("kind", c.Type.String()), slog.Bool("client", c.Client),
			slog.String("code", c.Code()), slog.Float64("duration_seconds", c.Took.Seconds()), slog.Float64("first_seconds", c.First.Seconds()),
			slog.Int64("sent", c.Sent), slog.Int64("received", c.Received), slog.String("peer", c.Peer))
	})
}

func levelOf(c *Call) slog.Level {
	if c.Err == nil {
		return slog.LevelInfo
	}
	switch connect.CodeOf(c.Err) {
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeDataLoss:
		return slog.LevelError
	default:
	}
	if c.Client {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
