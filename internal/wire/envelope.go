package wire

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairlead-edge/fairlead"
)

// AppendEnvelope appends e as an envelope. The member "skipped" is a reader's,
// not the event's: who has something to say there puts it before the last "}".
func AppendEnvelope(dst []byte, e *fairlead.Event) []byte {
	dst = append(dst, `{"topic":`...)
	dst = AppendString(dst, e.Topic)
	for _, m := range [...]struct{ name, value string }{
		{`,"cursor":`, string(e.Cursor)}, {`,"type":`, e.Type}, {`,"key":`, e.Key}, {`,"content_type":`, e.ContentType},
	} {
		if m.value != "" {
			dst = AppendString(append(dst, m.name...), m.value)
		}
	}
	if at := e.Time.UTC(); !at.IsZero() && HasYear(at) { // no reader could read another one
		dst = append(dst, `,"time":"`...)
		dst = at.AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, '"')
	}
	if e.Traceparent != "" {
		dst = AppendString(append(dst, `,"traceparent":`...), e.Traceparent)
	}
	if len(e.Attributes) > 0 {
		dst = append(dst, `,"attributes":{`...)
		for i, name := range slices.Sorted(maps.Keys(e.Attributes)) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendString(dst, name)
			dst = AppendString(append(dst, ':'), e.Attributes[name])
		}
		dst = append(dst, '}')
	}
	return append(appendData(dst, e), '}')
}

// HasYear reports whether the time in UTC has a form in RFC 3339 and is a timestamp of
// protobuf too: in the years from 1 to 9999.
func HasYear(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 1 && year <= 9999
}

// appendData appends the member that carries the event's data.
func appendData(dst []byte, e *fairlead.Event) []byte {
	text, isJSON := textual(e.ContentType)
	switch {
	case isJSON && json.Valid(e.Data) && utf8.Valid(e.Data):
		return append(append(dst, `,"data":`...), e.Data...)
	case text && !isJSON && utf8.Valid(e.Data):
		return AppendString(append(dst, `,"data":`...), string(e.Data))
	default: // also what calls itself JSON and is not: a string would read back as JSON
		dst = append(dst, `,"data_base64":"`...)
		return append(base64.StdEncoding.AppendEncode(dst, e.Data), '"')
	}
}

// textual reports whether data of the content type is text, and whether it is
// JSON. What has no type is text if it is UTF-8.
func textual(contentType string) (text, isJSON bool) {
	if contentType == "" {
		return true, false
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return true, false
	}
	switch {
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		return true, true
	case strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+xml"):
		return true, false
	}
	switch kind {
	case "application/xml", "application/javascript", "application/x-www-form-urlencoded", "application/x-ndjson", "application/yaml", "application/graphql":
		return true, false
	}
	return false, false
}

// Envelope is an envelope as it is read.
type Envelope struct {
	Topic       string            `json:"topic"`
	Cursor      fairlead.Cursor   `json:"cursor"`
	Type        string            `json:"type"`
	Key         string            `json:"key"`
	ContentType string            `json:"content_type"`
	Time        time.Time         `json:"time"`
	Traceparent string            `json:"traceparent"`
	Attributes  map[string]string `json:"attributes"`
	Skipped     uint64            `json:"skipped"`
	Data        json.RawMessage   `json:"data"`
	Base64      []byte            `json:"data_base64"`
}

// Event returns the event that the envelope carries.
func (v *Envelope) Event() fairlead.Event {
	e := fairlead.Event{
		Topic: v.Topic, Cursor: v.Cursor, Type: v.Type, Key: v.Key, ContentType: v.ContentType,
		Time: v.Time, Traceparent: v.Traceparent, Attributes: v.Attributes, Data: v.Data,
	}
	if v.Base64 != nil {
		e.Data = v.Base64
		return e
	}
	var text string
	if _, isJSON := textual(v.ContentType); !isJSON && json.Unmarshal(v.Data, &text) == nil {
		e.Data = []byte(text)
	}
	return e
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string (RFC 8259 §7). Bytes that are not
// UTF-8 become U+FFFD, for a JSON text cannot carry them.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[start:i]...), "\uFFFD"...)
				start = i + 1
			}
			i += n
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
