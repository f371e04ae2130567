package compress

import (
	"slices"
	"strings"
)

// codable are the types, besides text/* and those that end in +json, +xml,
// +text, +yaml or +json-seq, that shrink by a half or more.
var codable = []string{
	"application/json", "application/x-ndjson", "application/jsonl", "application/json-seq",
	"application/javascript", "application/x-javascript", "application/ecmascript", "application/wasm",
	"application/xml", "application/rtf", "application/yaml", "application/toml",
	"application/x-www-form-urlencoded", "application/graphql", "application/sql", "application/x-sh",
	"application/vnd.ms-fontobject", "font/ttf", "font/otf", "font/sfnt", "font/collection",
	"application/x-font-ttf", "application/x-font-opentype",
	"image/bmp", "image/x-icon", "image/vnd.microsoft.icon",
	"application/x-protobuf", "application/protobuf", "application/msgpack", "application/cbor",
	"application/openmetrics-text", "application/vnd.apple.mpegurl",
	"multipart/mixed",
}

// opaque are those of the suffixes' types that hold nothing to shrink:
// signatures and ciphertexts in JSON.
var opaque = []string{"application/jose+json", "application/jwk-set+jwt", "application/encrypted+json"}

var suffixes = []string{"json", "xml", "text", "yaml", "json-seq"}

// Codable reports whether bodies of a media type are coded: text, JSON, XML,
// scripts, WebAssembly, fonts and pictures that are not compressed themselves,
// protobuf. Others are not: images, sound, video, archives, what is encrypted,
// gRPC, whose messages are coded one by one, and application/octet-stream, of
// which nothing is known.
func Codable(contentType string) bool {
	t := mediaType(contentType)
	switch {
	case slices.Contains(codable, t):
		return true
	case slices.Contains(opaque, t):
		return false
	case strings.HasPrefix(t, "application/grpc"):
		return false
	case strings.HasPrefix(t, "text/"):
		return true
	}
	_, suffix, ok := strings.Cut(t, "+")
	return ok && slices.Contains(suffixes, suffix)
}

// mediaType returns the type without its parameters.
func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

func (h *handler) codable(contentType string) bool {
	return Codable(contentType) || len(h.cfg.Types) > 0 && slices.Contains(h.cfg.Types, mediaType(contentType))
}
