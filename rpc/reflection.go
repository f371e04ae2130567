package rpc

import (
	"context"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
)

// newReflector returns what reflection knows: our service, the files that its schema
// needs and those of the details of its errors, and health. By default it would be
// every file in this program.
func newReflector() *grpcreflect.Reflector {
	files := new(protoregistry.Files)
	add(files, fairleadv1.File_fairlead_v1_topics_proto)
	add(files, errdetails.File_google_rpc_error_details_proto)
	add(files, healthFile())
	return grpcreflect.NewReflector(grpcreflect.NamerFunc(func() []string { return []string{fairleadv1connect.TopicsName} }),
		grpcreflect.WithDescriptorResolver(files), grpcreflect.WithExtensionResolver(new(protoregistry.Types)))
}

// add registers the file and what it imports, once.
func add(files *protoregistry.Files, file protoreflect.FileDescriptor) {
	if _, err := files.FindFileByPath(file.Path()); err == nil {
		return
	}
	for i := range file.Imports().Len() {
		add(files, file.Imports().Get(i).FileDescriptor)
	}
	if err := files.RegisterFile(file); err != nil {
		panic(err) // two of our files have the same names
	}
}

// bounding is an interceptor that ends calls as it ends uploads.
type bounding struct{ *service }

// WrapUnary changes nothing.
func (bounding) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return next }

// WrapStreamingClient changes nothing.
func (bounding) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler bounds the call.
func (b bounding) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		ctx, stop := b.bounded(ctx)
		defer stop()
		err := next(ctx, conn)
		if err != nil && ctx.Err() != nil {
			return toStatus(context.Cause(ctx), nil) // why reading ended
		}
		return err
	}
}
