package rpc

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

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
// it still.
func (h *Handler) Own(r *http.Request) (*http.Request, bool) {
	if !shared(r.URL.Path) {
		return r, true
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Encoding") != "" {
		return r, false
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // what is none is not ours
	body := r.Body
	head := make([]byte, maxAsked)
	n, message := firstMessage(body, head, kind)
	again := r.WithContext(r.Context()) // a copy: the caller's keeps its body
	again.Body = &rejoined{io.MultiReader(bytes.NewReader(head[:n]), body), body}
	if strings.HasSuffix(kind, "json") {
		return again, asksJSON(message)
	}
	return again, asks(message, strings.HasPrefix(r.URL.Path, pathHealth))
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
	return strings.HasPrefix(symbol, string(fairleadv1.File_fairlead_v1_topics_proto.Package())+".")
}

// asksJSON is asks of the JSON that Connect speaks.
func asksJSON(message []byte) bool {
	var m struct {
		Service      string `json:"service"`
		FileByName   string `json:"fileByFilename"`
		FileOfSymbol string `json:"fileContainingSymbol"`
	}
	return json.Unmarshal(message, &m) == nil &&
		(m.Service == fairleadv1connect.TopicsName || m.FileByName == fairleadv1.File_fairlead_v1_topics_proto.Path() || ours(m.FileOfSymbol))
}
