package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
)

// maxAsked is how much of a body is read to see what it asks for, in bytes: a name
// and what is around it.
const maxAsked = 1 << 10

// Own reports whether the request, whose path is one of [Handler.Serves], is about a
// name that is served here: so that where a route leads the services of health and
// reflection to another server, that one answers for all other names. It reads the
// first message of the body, as far as it is needed, and returns a request that has
// it still. A client that sends none is waited for until the request's context ends or,
// over HTTP/2 and HTTP/3, for Config.WriteTimeout; then the body is closed.
func (h *Handler) Own(r *http.Request) (*http.Request, bool) {
	if !shared(r.URL.Path) {
		return r, true
	}
	if r.Method != http.MethodPost || r.ContentLength == 0 || r.Header.Get("Content-Encoding") != "" {
		return r, false
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // what is none is not ours
	body := r.Body
	if r.ProtoMajor >= 2 { // closing a body of HTTP/1.1 waits for who reads it
		ctx, cancel := context.WithTimeout(r.Context(), h.cfg.WriteTimeout)
		defer cancel()
		defer context.AfterFunc(ctx, func() { _ = body.Close() })()
	}
	head := make([]byte, maxAsked)
	n, message := firstMessage(body, head, kind)
	again := r.WithContext(r.Context()) // a copy: the caller's keeps its body
	again.Body = &rejoined{io.MultiReader(bytes.NewReader(head[:n]), body), body}
	health := strings.HasPrefix(r.URL.Path, pathHealth)
	if strings.HasSuffix(kind, "json") {
		return again, asksJSON(message, health)
	}
	return again, asks(message, health)
}

// rejoined is a body whose beginning was read.
type rejoined struct {
	io.Reader
	io.Closer
}

// firstMessage reads the first message of a call into head, and returns how much it
// read. The message is nil when it is longer, coded or broken.
func firstMessage(body io.Reader, head []byte, kind string) (n int, message []byte) {
	if kind == "application/json" || kind == "application/proto" { // Connect, unary: all of the body
		n, err := io.ReadFull(body, head)
		if err == nil {
			return n, nil // there may be more
		}
		return n, head[:n]
	}
	const prefix = 5 // flags and length, of all other kinds
	n, err := io.ReadFull(body, head[:prefix])
	if err != nil {
		return n, nil
	}
	size := binary.BigEndian.Uint32(head[1:prefix])
	if head[0] != 0 || size > uint32(len(head)-prefix) { //nolint:gosec // a small buffer
		return n, nil
	}
	m, err := io.ReadFull(body, head[prefix:prefix+int(size)])
	if err != nil {
		return n + m, nil
	}
	return n + m, head[prefix : n+m]
}

// asks reports whether the message is about a name that is served here: a
// grpc.health.v1.HealthCheckRequest of our service, or a ServerReflectionRequest for
// a symbol or file of ours.
func asks(message []byte, health bool) bool {
	const service, fileByName, fileOfSymbol = 1, 3, 4 // field numbers
	for len(message) > 0 {
		number, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return false
		}
		message = message[n:]
		size := protowire.ConsumeFieldValue(number, typ, message)
		if size < 0 {
			return false
		}
		value, _ := protowire.ConsumeBytes(message[:size]) // nil of what is no string
		message = message[size:]
		switch {
		case health && number == service:
			return string(value) == fairleadv1connect.TopicsName
		case !health && number == fileByName:
			return string(value) == fairleadv1.File_fairlead_v1_topics_proto.Path()
		case !health && number == fileOfSymbol:
			return ours(string(value))
		}
	}
	return false
}

// ours reports whether the symbol is one of our schema.
func ours(symbol string) bool {
	file := fairleadv1.File_fairlead_v1_topics_proto
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(symbol))
	return err == nil && d.ParentFile().Path() == file.Path() || symbol == string(file.Package())
}

// asksJSON is asks of the JSON that Connect speaks.
func asksJSON(message []byte, health bool) bool {
	var m struct {
		Service      string `json:"service"`
		FileByName   string `json:"fileByFilename"`
		ByName       string `json:"file_by_filename"` // which is as good (the JSON mapping of protobuf)
		FileOfSymbol string `json:"fileContainingSymbol"`
		OfSymbol     string `json:"file_containing_symbol"`
	}
	if json.Unmarshal(message, &m) != nil {
		return false
	}
	if health {
		return m.Service == fairleadv1connect.TopicsName
	}
	own := fairleadv1.File_fairlead_v1_topics_proto.Path()
	return m.FileByName == own || m.ByName == own || ours(m.FileOfSymbol) || ours(m.OfSymbol)
}
