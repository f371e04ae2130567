package interceptor

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"

	"connectrpc.com/connect"
)

// Recovery returns an interceptor for handlers that makes an error of code internal
// of a panic; its text does not reach the caller. panicked, unless it is nil, is
// called with the procedure, the value and the stack. [http.ErrAbortHandler] goes on:
// it is how a handler breaks a response off. Calls of a client are left alone.
func Recovery(panicked func(procedure string, value any, stack []byte)) connect.Interceptor {
	if panicked == nil {
		panicked = func(string, any, []byte) {}
	}
	return recovery{panicked}
}

type recovery struct {
	panicked func(procedure string, value any, stack []byte)
}

var errPanicked = errors.New("the server failed to answer")

// caught makes an error of a panic.
func (r recovery) caught(procedure string, err *error) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // it is panicked with as it is
		panic(v)
	}
	r.panicked(procedure, v, debug.Stack())
	*err = connect.NewError(connect.CodeInternal, errPanicked)
}

// WrapUnary is for connect-go, as are the following.
func (r recovery) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (res connect.AnyResponse, err error) {
		if !req.Spec().IsClient {
			defer r.caught(req.Spec().Procedure, &err)
		}
		return next(ctx, req)
	}
}

func (r recovery) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		defer r.caught(conn.Spec().Procedure, &err)
		return next(ctx, conn)
	}
}

func (r recovery) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
