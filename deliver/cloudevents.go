package deliver

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
)

// CloudEvents 1.0 and its HTTP binding, in the three content modes. An event's
// type, time, datacontenttype and the extensions partitionkey and traceparent
// become the fields of a fairlead.Event that mean the same; id, source and the
// rest are kept as its Attributes. The Fairlead- headers win.

const (
	maxAttributes = 64
	maxAttribute  = 4 << 10 // bytes of one attribute's value
)

// required are the attributes that each event has (CloudEvents 1.0.2 §3.1).
var required = []string{"specversion", "id", "source", "type"}

// binaryCloudEvent reads the binary content mode: attributes are ce- headers
// (HTTP Protocol Binding for CloudEvents 1.0.2 §3.1).
func binaryCloudEvent(h http.Header, common fairlead.Event, body []byte) (fairlead.Event, error) {
	attributes := make(map[string]string)
	for header := range h {
		name, ok := strings.CutPrefix(strings.ToLower(header), "ce-")
		if !ok {
			continue
		}
		value, err := single(h, header)
		if err != nil {
			return common, err
		}
		if value, err = url.PathUnescape(value); err != nil {
			return common, fairlead.Errorf(fairlead.InvalidArgument,
				"the header %s is not percent-encoded as CloudEvents asks: encode space, double quote, percent and what is not ASCII", header)
		}
		attributes[name] = value
	}
	common.Data = body
	return common, applyAttributes(&common, attributes)
}

// parseCloudEvents reads the batched content mode.
func parseCloudEvents(common fairlead.Event, body []byte) ([]fairlead.Event, error) {
	var each []json.RawMessage
	if err := json.Unmarshal(body, &each); err != nil || !utf8.Valid(body) {
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "a batch of CloudEvents is a JSON array of them, in UTF-8")
	}
	switch {
	case len(each) == 0:
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "the batch is empty")
	case len(each) > maxBatch:
		return nil, tooMany()
	}
	events := make([]fairlead.Event, len(each))
	for i, one := range each {
		var err error
		if events[i], err = parseCloudEvent(common, one); err != nil {
			return nil, inBatch(i, err)
		}
	}
	return events, nil
}

// inBatch says which event of a batch is wrong.
func inBatch(i int, err error) error {
	e := fairlead.AsError(err)
	return fairlead.Errorf(e.Code, "event %d of the batch: %s; nothing of the batch was stored", i+1, e.Message)
}

// parseCloudEvent reads the structured content mode (JSON Event Format for
// CloudEvents 1.0.2).
func parseCloudEvent(common fairlead.Event, body []byte) (fairlead.Event, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil || !utf8.Valid(body) {
		return common, fairlead.Errorf(fairlead.InvalidArgument, "a CloudEvent is a JSON object, in UTF-8")
	}
	attributes := make(map[string]string, len(members))
	for name, value := range members {
		if name == "data" || name == "data_base64" || name == "datacontenttype" || bytes.Equal(value, []byte("null")) {
			continue
		}
		if slices.Contains(required, name) && value[0] != '"' {
			return common, fairlead.Errorf(fairlead.InvalidArgument, "the CloudEvents attribute %s is a string", name)
		}
		text, ok := scalar(value)
		if !ok {
			return common, fairlead.Errorf(fairlead.InvalidArgument, "the CloudEvents attribute %.40q is a string, a number or a boolean", name)
		}
		attributes[name] = text
	}
	common.ContentType = mediaJSON
	if value, ok := members["datacontenttype"]; ok {
		if err := json.Unmarshal(value, &common.ContentType); err != nil {
			return common, fairlead.Errorf(fairlead.InvalidArgument, "the CloudEvents attribute datacontenttype is a string")
		}
	}
	if err := applyAttributes(&common, attributes); err != nil {
		return common, err
	}
	return common, setData(&common, members["data"], members["data_base64"])
}

// setData takes the data of a structured event.
func setData(e *fairlead.Event, data, inBase64 json.RawMessage) error {
	var text string
	switch {
	case data != nil && inBase64 != nil:
		return fairlead.Errorf(fairlead.InvalidArgument, "a CloudEvent has data or data_base64, not both")
	case inBase64 != nil:
		if err := json.Unmarshal(inBase64, &e.Data); err != nil {
			return fairlead.Errorf(fairlead.InvalidArgument, "data_base64 is not base64")
		}
	case data != nil && data[0] == '"' && !isJSON(e.ContentType) && json.Unmarshal(data, &text) == nil:
		e.Data = []byte(text)
	default:
		e.Data = data
	}
	return nil
}

// scalar returns the text of an attribute's value.
func scalar(value json.RawMessage) (string, bool) {
	if value[0] == '"' {
		var s string
		err := json.Unmarshal(value, &s)
		return s, err == nil
	}
	return string(value), value[0] != '{' && value[0] != '['
}

// applyAttributes sets the fields of e that attributes have names for, and
// keeps the others.
func applyAttributes(e *fairlead.Event, attributes map[string]string) error {
	if v := attributes["specversion"]; v != "1.0" {
		return fairlead.Errorf(fairlead.InvalidArgument, "CloudEvents specversion is %.10q; 1.0 is read here", v)
	}
	for _, name := range required {
		if attributes[name] == "" {
			return fairlead.Errorf(fairlead.InvalidArgument, "the CloudEvents attribute %s is missing", name)
		}
	}
	if e.Type == "" {
		e.Type = attributes["type"]
	}
	delete(attributes, "type")
	if v, ok := attributes["time"]; ok {
		at, err := time.Parse(time.RFC3339, v)
		if err != nil || !wire.HasYear(at) {
			return fairlead.Errorf(fairlead.InvalidArgument, "the CloudEvents attribute time is not a timestamp of RFC 3339, of the years 1 to 9999 in UTC")
		}
		e.Time = at
		delete(attributes, "time")
	}
	if v, ok := attributes["partitionkey"]; ok {
		if e.Key == "" {
			e.Key = v
		}
		delete(attributes, "partitionkey")
	}
	if v, ok := attributes["traceparent"]; ok {
		if isTraceparent(v) {
			e.Traceparent = v
		}
		delete(attributes, "traceparent")
	}
	e.Attributes = attributes
	return checkAttributes(attributes)
}

// checkAttributes bounds attributes and keeps to what CloudEvents allows in
// their names and values (§3.1, type system of String).
func checkAttributes(attributes map[string]string) error {
	if len(attributes) > maxAttributes {
		return fairlead.Errorf(fairlead.TooLarge, "an event has at most %d attributes", maxAttributes)
	}
	for name, value := range attributes {
		if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return fairlead.Errorf(fairlead.InvalidArgument, "the attribute name %.40q is not 1 to 64 lower-case letters and digits", name)
		}
		if len(value) > maxAttribute {
			return fairlead.Errorf(fairlead.TooLarge, "the attribute %s has over %d bytes", name, maxAttribute)
		}
		if !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || (r >= 0x7f && r < 0xa0) }) {
			return fairlead.Errorf(fairlead.InvalidArgument, "the attribute %s is not text without control characters", name)
		}
	}
	return nil
}
