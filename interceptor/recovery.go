package interceptor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"connectrpc.com/connect"
)

// Panic is one that Recovery has caught.
type Panic struct {
	// Procedure is the full name of what panicked.
	Procedure string
	// Value is what was panicked with.
	Value any
	// Stack is that of the goroutine, as runtime/debug.Stack has it.
	Stack []byte
}

// RecoveryConfig says who is told of panics.
type RecoveryConfig struct {
	// Logger has a record "panic" at level Error with procedure, value and
	// stack, when Handle is nil. Default: slog.Default() as it is when the
	// interceptor is made.
	Logger *slog.Logger
	// Handle is told instead of Logger, on the goroutine that panicked. It must
	// not panic itself.
	Handle func(context.Context, Panic)
}

// Recovery returns an interceptor that turns a panic of a handler into an
// error of code internal, whose text tells the caller nothing of it. A panic
// with http.ErrAbortHandler passes, since it means to cut the response off.
// Panics on other goroutines than the handler's are beyond it; calls of clients
// it leaves alone.
func Recovery(c RecoveryConfig) connect.Interceptor {
	if c.Handle == nil {
		log := c.Logger
		if log == nil {
			log = slog.Default()
		}
		c.Handle = func(ctx context.Context, p Panic) {
			log.LogAttrs(ctx, slog.LevelError, "panic", slog.String("procedure", p.Procedure),
				slog.String("value", fmt.Sprint(p.Value)), slog.String("stack", string(p.Stack)))
		}
	}
	return &recovery{c.Handle}
}

type recovery struct {
	handle func(context.Context, Panic)
}

// WrapUnary implements connect.Interceptor.
func (r *recovery) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (_ connect.AnyResponse, err error) {
		if req.Spec().IsClient {
			return next(ctx, req)
		}
		defer func() {
			if value := recover(); value != nil {
				err = r.recovered(ctx, req.Spec(), value)
			}
		}()
		return next(ctx, req)
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (r *recovery) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		defer func() {
			if value := recover(); value != nil {
				err = r.recovered(ctx, conn.Spec(), value)
			}
		}()
		return next(ctx, conn)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (r *recovery) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (r *recovery) recovered(ctx context.Context, spec connect.Spec, value any) error {
	if value == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
		panic(value)
	}
	r.handle(ctx, Panic{Procedure: spec.Procedure, Value: value, Stack: debug.Stack()})
	return connect.NewError(connect.CodeInternal, errors.New("internal error"))
}
