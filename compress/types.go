package compress

import (
	"mime"
	"slices"
	"strings"
)

// codable are the types, besides text/* and those that end in +json, +xml,
// +text, +yaml or +json-seq, that shrink by a half or more.
var codable = []string{
	"application/json", "application/x-ndjson", "application/jsonl", "application/json-seq", "application/ld+json",
	"application/javascript", "application/x-javascript", "application/ecmascript", "application/wasm",
	"application/xml", "application/xhtml+xml", "application/rtf", "application/yaml", "application/toml",
	"application/x-www-form-urlencoded", "application/graphql", "application/sql", "application/x-sh",
	"application/vnd.ms-fontobject", "font/ttf", "font/otf", "font/sfnt", "font/collection",
	"application/x-font-ttf", "application/x-font-opentype",
	"image/svg+xml", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon",
	"application/x-protobuf", "application/protobuf", "application/msgpack", "application/cbor",
	"application/openmetrics-text", "application/manifest+json", "application/geo+json", "application/problem+json",
	"multipart/mixed",
}

// opaque are those of the suffixes' types that hold nothing to shrink:
// signatures and ciphertexts in JSON.
var opaque = []string{"application/jose+json", "application/jwk-set+jwt", "application/encrypted+json"}

// Codable reports whether bodies of a media type are coded: text, JSON, XML,
// scripts, WebAssembly, fonts and pictures that are not compressed themselves,
// protobuf. Others are not: images, sound, video, archives, what is encrypted,
// gRPC, whose messages are coded one by one, and application/octet-stream, of
// which nothing is known.
func Codable(contentType string) bool {
	if len(contentType) > 256 { // no type is as long
		return false
	}
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		t, _, _ = strings.Cut(contentType, ";")
		t = strings.ToLower(strings.TrimSpace(t))
	}
	switch {
	case slices.Contains(codable, t):
		return true
	case slices.Contains(opaque, t), strings.HasPrefix(t, "application/grpc"):
		return false
	case strings.HasPrefix(t, "text/"):
		return true
	}
	_, suffix, ok := strings.Cut(t, "+")
	return ok && slices.Contains([]string{"json", "xml", "text", "yaml", "json-seq"}, suffix)
}

func (h *handler) codable(contentType string) bool {
	if Codable(contentType) {
		return true
	}
	if h.cfg.Types == nil {
		return false
	}
	t, _, _ := strings.Cut(contentType, ";")
	return slices.Contains(h.cfg.Types, strings.ToLower(strings.TrimSpace(t)))
}
