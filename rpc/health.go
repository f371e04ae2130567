package rpc

import (
	"context"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
)

// healthSchema is grpc/health/v1/health.proto. It is not registered with the process:
// where grpc-go is part of it, too, that has registered its own.
const healthSchema = `
name: "grpc/health/v1/health.proto" package: "grpc.health.v1" syntax: "proto3"
message_type { name: "HealthCheckRequest"
  field { name: "service" json_name: "service" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL } }
message_type { name: "HealthCheckResponse"
  field { name: "status" json_name: "status" number: 1 type: TYPE_ENUM type_name: ".grpc.health.v1.HealthCheckResponse.ServingStatus" label: LABEL_OPTIONAL }
  enum_type { name: "ServingStatus"
    value { name: "UNKNOWN" number: 0 } value { name: "SERVING" number: 1 }
    value { name: "NOT_SERVING" number: 2 } value { name: "SERVICE_UNKNOWN" number: 3 } } }
message_type { name: "HealthListRequest" }
message_type { name: "HealthListResponse"
  field { name: "statuses" json_name: "statuses" number: 1 type: TYPE_MESSAGE type_name: ".grpc.health.v1.HealthListResponse.StatusesEntry" label: LABEL_REPEATED }
  nested_type { name: "StatusesEntry" options { map_entry: true }
    field { name: "key" json_name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" json_name: "value" number: 2 type: TYPE_MESSAGE type_name: ".grpc.health.v1.HealthCheckResponse" label: LABEL_OPTIONAL } } }
service { name: "Health"
  method { name: "Check" input_type: ".grpc.health.v1.HealthCheckRequest" output_type: ".grpc.health.v1.HealthCheckResponse" }
  method { name: "List" input_type: ".grpc.health.v1.HealthListRequest" output_type: ".grpc.health.v1.HealthListResponse" }
  method { name: "Watch" input_type: ".grpc.health.v1.HealthCheckRequest" output_type: ".grpc.health.v1.HealthCheckResponse" server_streaming: true } }
`

// healthFile is it, parsed.
var healthFile = sync.OnceValue(func() protoreflect.FileDescriptor {
	var file descriptorpb.FileDescriptorProto
	err := prototext.Unmarshal([]byte(healthSchema), &file)
	if err == nil {
		var parsed protoreflect.FileDescriptor
		if parsed, err = protodesc.NewFile(&file, nil); err == nil {
			return parsed
		}
	}
	panic(err) // the schema above is wrong
})

// The values of ServingStatus that are used.
const (
	statusServing        protoreflect.EnumNumber = 1
	statusNotServing     protoreflect.EnumNumber = 2
	statusServiceUnknown protoreflect.EnumNumber = 3
)

// health is grpc.health.v1.Health, of our service and of the server as a whole, which
// is "". Its messages are dynamic ones.
type health struct {
	heartbeat time.Duration

	mu      sync.Mutex
	serving bool
	changed context.Context // ends when serving changes
	change  context.CancelFunc
}

// message is any of the service's.
type message = dynamicpb.Message

func newHealth(heartbeat time.Duration) *health {
	h := &health{heartbeat: heartbeat, serving: true}
	h.changed, h.change = context.WithCancel(context.Background())
	return h
}

// set says whether the service is served.
func (h *health) set(serving bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.serving == serving {
		return
	}
	h.serving = serving
	h.change()
	h.changed, h.change = context.WithCancel(context.Background())
}

// now returns whether it is served, and a context that ends when that changes.
func (h *health) now() (bool, context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.serving, h.changed
}

// register serves the methods.
func (h *health) register(mux *http.ServeMux, options []connect.HandlerOption) {
	methods := healthFile().Services().ByName("Health").Methods()
	optionsOf := func(name protoreflect.Name) (string, []connect.HandlerOption) {
		method := methods.ByName(name)
		return pathHealth + string(name), append([]connect.HandlerOption{
			connect.WithSchema(method),
			connect.WithRequestInitializer(func(_ connect.Spec, m any) error {
				if m, ok := m.(*message); ok {
					*m = *dynamicpb.NewMessage(method.Input())
				}
				return nil
			}),
		}, options...)
	}
	path, with := optionsOf("Check")
	mux.Handle(path, connect.NewUnaryHandler(path, h.check, with...))
	path, with = optionsOf("List")
	mux.Handle(path, connect.NewUnaryHandler(path, h.list, with...))
	path, with = optionsOf("Watch")
	mux.Handle(path, connect.NewServerStreamHandler(path, h.watch, with...))
}

func (h *health) check(_ context.Context, req *connect.Request[message]) (*connect.Response[message], error) {
	status := h.status(asked(req.Msg))
	if status == statusServiceUnknown {
		return nil, toStatus(fairlead.Errorf(fairlead.NotFound, "this server answers for the health of %s only", fairleadv1connect.TopicsName), nil)
	}
	return connect.NewResponse(response(status)), nil
}

func (h *health) list(context.Context, *connect.Request[message]) (*connect.Response[message], error) {
	m := dynamicpb.NewMessage(healthFile().Messages().ByName("HealthListResponse"))
	statuses := m.Mutable(m.Descriptor().Fields().ByName("statuses")).Map()
	for _, name := range []string{"", fairleadv1connect.TopicsName} {
		statuses.Set(protoreflect.ValueOfString(name).MapKey(), protoreflect.ValueOfMessage(response(h.status(name))))
	}
	return connect.NewResponse(m), nil
}

// watch says the status, again when it changes, and again after each silence, by
// which a client shows that has gone. It ends when the service does.
func (h *health) watch(ctx context.Context, req *connect.Request[message], stream *connect.ServerStream[message]) error {
	lineOf(ctx).endless()
	beat := time.NewTicker(h.heartbeat)
	defer beat.Stop()
	for {
		serving, changed := h.now()
		if err := stream.Send(response(h.status(asked(req.Msg)))); err != nil {
			return err
		}
		if !serving {
			return toStatus(errLeaving(), nil)
		}
		select {
		case <-changed.Done():
		case <-beat.C:
		case <-ctx.Done():
			return toStatus(context.Cause(ctx), nil)
		}
	}
}

// status is that of the service.
func (h *health) status(service string) protoreflect.EnumNumber {
	serving, _ := h.now()
	switch {
	case service != "" && service != fairleadv1connect.TopicsName:
		return statusServiceUnknown
	case serving:
		return statusServing
	}
	return statusNotServing
}

// asked returns the service that a HealthCheckRequest is about.
func asked(m *message) string { return m.Get(m.Descriptor().Fields().ByName("service")).String() }

func response(status protoreflect.EnumNumber) *message {
	m := dynamicpb.NewMessage(healthFile().Messages().ByName("HealthCheckResponse"))
	m.Set(m.Descriptor().Fields().ByName("status"), protoreflect.ValueOfEnum(status))
	return m
}

// errLeaving is why a call is sent away when the service ends.
func errLeaving() *fairlead.Error {
	e := fairlead.Errorf(fairlead.Draining, "this server is going away: come back in a moment")
	e.RetryAfter = time.Second
	return e
}
