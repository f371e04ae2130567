package rpc

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protoreflect"

	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
)

// Services names what a Handler serves, for people.
const Services = fairleadv1connect.TopicsName + ", grpc.health.v1.Health and " + grpcreflect.ReflectV1ServiceName

// marked writes errors of Connect only to those who say that they speak it: any
// request whose body is JSON could be one of its calls.
var marked = connect.NewErrorWriter(connect.WithRequireConnectProtocolHeader())

// Unimplemented answers a call that nothing serves, in its protocol and with the code
// Unimplemented (gRPC's "HTTP to gRPC Status Code Mapping"), and reports whether the
// request is one: of gRPC, gRPC-Web or, where it says so, Connect. Any other is not
// answered.
func Unimplemented(w http.ResponseWriter, r *http.Request, message string) bool {
	return unimplemented(marked, w, r, message)
}

func unimplemented(writer *connect.ErrorWriter, w http.ResponseWriter, r *http.Request, message string) bool {
	status := connect.NewError(connect.CodeUnimplemented, errors.New(message))
	explain(status, status.Code().String(), nil)
	return answer(writer, w, r, status)
}

// answer ends a call that has not begun, in its protocol, and reports whether it has one.
// Of gRPC that is headers only: trailers would not reach a client over HTTP/1.1.
func answer(writer *connect.ErrorWriter, w http.ResponseWriter, r *http.Request, status *connect.Error) bool {
	kind := r.Header.Get("Content-Type")
	if r.Method == http.MethodPost && (writer.IsSupported(r) && strings.HasPrefix(kind, "application/grpc") || isText(r)) {
		w = headersOnly{w, kind}
		r = r.Clone(r.Context())
		r.Header.Set("Content-Type", "application/grpc-web+proto") // whose errors are written so
	}
	if !writer.IsSupported(r) {
		return false
	}
	_ = writer.Write(w, r, status) // the client has gone
	return true
}

// headersOnly answers with a media type, whatever else it is given.
type headersOnly struct {
	http.ResponseWriter

	kind string
}

// WriteHeader ends the response.
func (h headersOnly) WriteHeader(status int) {
	h.Header().Set("Content-Type", h.kind)
	h.ResponseWriter.WriteHeader(status)
}

// Unwrap returns the writer below.
func (h headersOnly) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// unserved answers a call of a service that is here which the handler cannot serve:
// in its protocol, and in plain text where it has none.
func (h *Handler) unserved(w http.ResponseWriter, r *http.Request, status int, message string) {
	writer := marked
	if r.Method == http.MethodPost {
		writer = h.errors
	}
	if !unimplemented(writer, w, r, message) {
		http.Error(w, message, status)
	}
}

// isText reports whether the client speaks the gRPC-Web of browsers that could not
// read bytes.
func isText(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc-web-text")
}

// methodsOf returns the methods of a service that is here, by the services' names.
func methodsOf() map[string][]string {
	reflects := []string{"ServerReflectionInfo"}
	return map[string][]string{
		fairleadv1connect.TopicsName: names(fairleadv1.File_fairlead_v1_topics_proto.Services().ByName("Topics").Methods()),
		"grpc.health.v1.Health":      names(healthFile().Services().ByName("Health").Methods()),

		grpcreflect.ReflectV1ServiceName: reflects, grpcreflect.ReflectV1AlphaServiceName: reflects,
	}
}

func names(methods protoreflect.MethodDescriptors) (all []string) {
	for i := range methods.Len() {
		all = append(all, string(methods.Get(i).Name()))
	}
	return all
}

// cannot returns why the call cannot be served, and the status of HTTP that says so; 0
// if it can.
func (h *Handler) cannot(r *http.Request, many bool) (status int, why string) {
	service, method, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch has := h.methods[service]; {
	case !slices.Contains(has, method):
		return http.StatusNotFound, "the service " + service + " has no such method; it has " + strings.Join(has, ", ")
	case isText(r):
		return http.StatusUnsupportedMediaType, "application/grpc-web-text is not spoken here: use application/grpc-web+proto, such as by mode=grpcweb of protoc-gen-grpc-web"
	case many && r.ProtoMajor < 2 && method != "Upload":
		return http.StatusHTTPVersionNotSupported, "this call needs both directions at once: make it over HTTP/2 or HTTP/3"
	}
	return 0, ""
}
