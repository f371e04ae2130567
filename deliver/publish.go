package deliver

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"hash"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/topic"
)

const (
	maxBatch          = 10_000 // events of one publish
	maxIdempotencyKey = 255    // bytes
)

// publishers is who may publish.
type publishers struct {
	anybody bool   // without a token
	token   string // "": see anybody
}

// LetPublish sets who may publish from now on, in the place of Config.AllowPublish and
// Config.PublishToken, also on sessions that are open.
func (h *Handler) LetPublish(anybody bool, token string) {
	h.publishers.Store(&publishers{anybody, token})
}

// mayPublish checks that a client that has sent the header Authorization, or none, may
// change topics; answer, unless it is nil, gets what the answer then needs.
func (h *Handler) mayPublish(answer http.Header, authorization string) error {
	may := h.publishers.Load()
	if may.token == "" {
		if may.anybody {
			return nil
		}
		return fairlead.Errorf(fairlead.PermissionDenied,
			"publishing is off: set publish_token on the server, which is on without one only while it listens on loopback alone")
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	// Hashed, so that not even the length shows in the time it takes.
	got, want := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(may.token))
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		if answer != nil {
			answer.Set("WWW-Authenticate", `Bearer realm="fairlead"`)
		}
		return fairlead.Errorf(fairlead.Unauthenticated, "publishing needs the header Authorization: Bearer TOKEN, with the server's publish_token")
	}
	return nil
}

// publish answers POST.
func (h *Handler) publish(w http.ResponseWriter, r *http.Request, name string) error {
	stored, err := h.store(w, r, name)
	code := fairlead.Code("")
	if err != nil {
		code = fairlead.AsError(err).Code
	}
	h.cfg.Observer.Published(name, stored.count, code)
	if err != nil {
		return err
	}
	var body []byte
	if stored.batch {
		body = marshal(struct {
			Cursors [2]fairlead.Cursor `json:"cursors"`
			Count   int                `json:"count"`
		}{[2]fairlead.Cursor{stored.First, stored.Last}, stored.Count})
	} else {
		body = marshal(struct {
			Cursor fairlead.Cursor `json:"cursor"`
		}{stored.Last})
	}
	// A publisher that has gone may ask again under its Idempotency-Key.
	_ = sendJSON(w, http.NewResponseController(w), http.StatusCreated, append(body, '\n'), h.cfg.WriteTimeout)
	return nil
}

type stored struct {
	topic.Result

	batch bool // answered with the first cursor, too
	count int  // events that were not stored before
}

func (h *Handler) store(w http.ResponseWriter, r *http.Request, name string) (stored, error) {
	if err := h.mayPublish(w.Header(), r.Header.Get("Authorization")); err != nil {
		return stored{}, err
	}
	b, isBatch, err := h.parsePublish(w, r)
	if err != nil {
		return stored{}, err
	}
	res, err := h.traced(r.Context(), name, b)
	s := stored{Result: res, batch: isBatch}
	if !res.Repeated {
		s.count = res.Count
	}
	return s, err
}

// parsePublish reads what the request publishes.
func (h *Handler) parsePublish(w http.ResponseWriter, r *http.Request) (b topic.Batch, isBatch bool, err error) {
	if b.IdempotencyKey, err = idempotencyKey(r.Header); err != nil {
		return b, false, err
	}
	if b.Close, err = boolean(r.Header, "Fairlead-Close"); err != nil {
		return b, false, err
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return b, false, fairlead.Errorf(fairlead.UnsupportedMedia, "send the body without Content-Encoding %q", e)
	}
	common, err := commonOf(r.Header)
	if err != nil {
		return b, false, err
	}
	body, err := h.readBody(w, r)
	if err != nil {
		return b, false, err
	}
	if b.IdempotencyKey != "" {
		b.Fingerprint = fingerprint(r.Header, body)
	}
	if b.Events, isBatch, err = parseEvents(r.Header, common, body); err != nil {
		return b, false, err
	}
	if len(body) == 0 && b.Close && len(b.Events) == 1 && r.Header.Get("Ce-Specversion") == "" {
		b.Events = nil // it only closes
	}
	for i := range b.Events {
		if err := b.Events[i].Validate(); err != nil {
			if isBatch {
				err = inBatch(i, err)
			}
			return b, false, err
		}
	}
	return b, isBatch, nil
}

// commonOf returns what the headers say of each event of the publish.
func commonOf(h http.Header) (e fairlead.Event, err error) {
	for _, f := range []struct {
		name  string
		field *string
	}{{"Fairlead-Type", &e.Type}, {"Fairlead-Key", &e.Key}, {"Content-Type", &e.ContentType}} {
		if *f.field, err = single(h, f.name); err != nil {
			return e, err
		}
	}
	if e.Critical, err = boolean(h, "Fairlead-Critical"); err != nil {
		return e, err
	}
	if parent := h.Get("Traceparent"); isTraceparent(parent) {
		e.Traceparent = parent // W3C Trace Context §3.2.2: another one is ignored
	}
	return e, nil
}

// parseEvents reads a body by its media type.
func parseEvents(h http.Header, common fairlead.Event, body []byte) (events []fairlead.Event, isBatch bool, err error) {
	kind, _, _ := mime.ParseMediaType(common.ContentType) // what is not one is data like any other
	switch {
	case kind == "application/x-ndjson":
		events, err = parseLines(common, body)
		return events, true, err
	case kind == "application/cloudevents-batch+json":
		events, err = parseCloudEvents(common, body)
		return events, true, err
	case kind == "application/cloudevents+json":
		e, err := parseCloudEvent(common, body)
		return []fairlead.Event{e}, false, err
	case strings.HasPrefix(kind, "application/cloudevents"):
		return nil, false, fairlead.Errorf(fairlead.UnsupportedMedia,
			"of CloudEvents the JSON format is read: application/cloudevents+json, application/cloudevents-batch+json, or ce- headers")
	case h.Get("Ce-Specversion") != "":
		e, err := binaryCloudEvent(h, common, body)
		return []fairlead.Event{e}, false, err
	}
	common.Data = body
	return []fairlead.Event{common}, false, nil
}

// parseLines makes an event of each line that is not blank.
func parseLines(common fairlead.Event, body []byte) ([]fairlead.Event, error) {
	common.ContentType = mediaJSON
	var events []fairlead.Event
	number := 0
	for line := range bytes.SplitSeq(body, []byte{'\n'}) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if len(events) == maxBatch {
			return nil, tooMany()
		}
		if !json.Valid(line) || !utf8.Valid(line) {
			return nil, fairlead.Errorf(fairlead.InvalidArgument, "line %d is not JSON in UTF-8; nothing of the batch was stored", number)
		}
		common.Data = slices.Clone(line) // kept for as long as the event, and no neighbour with it
		events = append(events, common)
	}
	if len(events) == 0 {
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "the batch is empty: send a JSON value a line")
	}
	return events, nil
}

func tooMany() error {
	return fairlead.Errorf(fairlead.TooLarge, "a batch has at most %d events; nothing of it was stored", maxBatch)
}

func idempotencyKey(h http.Header) (string, error) {
	key, err := single(h, "Idempotency-Key")
	if err == nil && len(key) > maxIdempotencyKey {
		err = fairlead.Errorf(fairlead.InvalidArgument, "an Idempotency-Key has at most %d bytes", maxIdempotencyKey)
	}
	return key, err
}

// fingerprint identifies what a request publishes, apart from its key.
func fingerprint(h http.Header, body []byte) [32]byte {
	sum := sha256.New()
	var names []string
	for name := range h {
		if name == "Content-Type" || strings.HasPrefix(name, "Fairlead-") || strings.HasPrefix(name, "Ce-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		writeField(sum, name)
		for _, value := range h[name] {
			writeField(sum, value)
		}
		writeField(sum, "")
	}
	sum.Write(body)
	return [32]byte(sum.Sum(nil))
}

// writeField adds s with its length, so that no two lists of fields look alike.
func writeField(sum hash.Hash, s string) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(s)))
	sum.Write(size[:])
	sum.Write([]byte(s))
}

// isTraceparent reports whether s is version 00 of a traceparent, or a later
// one that begins like it (W3C Trace Context §3.2).
func isTraceparent(s string) bool {
	if len(s) < 55 || len(s) > 128 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	if s[:2] == "ff" || (s[:2] == "00" && len(s) != 55) || (len(s) > 55 && s[55] != '-') {
		return false
	}
	hexadecimal := func(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
	zero := func(s string) bool { return strings.Trim(s, "0") == "" }
	id, span := s[3:35], s[36:52]
	return hexadecimal(s[:2]) && hexadecimal(id) && hexadecimal(span) && hexadecimal(s[53:55]) && !zero(id) && !zero(span)
}

// eventOf makes an event of a publish over a WebSocket. Without a content type
// a JSON string is text, and any other value is JSON.
func eventOf(m *wire.Request) (fairlead.Event, error) {
	e := fairlead.Event{
		Type: m.Type, Key: m.Key, ContentType: m.ContentType, Attributes: m.Attributes, Critical: m.Critical,
	}
	if isTraceparent(m.Traceparent) {
		e.Traceparent = m.Traceparent
	}
	if m.Time != "" {
		at, err := time.Parse(time.RFC3339Nano, m.Time)
		if err != nil || !wire.HasYear(at) {
			return e, wrongTime()
		}
		e.Time = at
	}
	if err := checkAttributes(e.Attributes); err != nil {
		return e, err
	}
	var text string
	switch {
	case m.Data == nil && m.Base64 == nil:
		return e, fairlead.Errorf(fairlead.InvalidArgument, "publish needs data, or data_base64")
	case m.Data != nil && m.Base64 != nil:
		return e, fairlead.Errorf(fairlead.InvalidArgument, "publish has data or data_base64, not both")
	case m.Data == nil:
		e.Data = m.Base64
	case !isJSON(e.ContentType) && json.Unmarshal(m.Data, &text) == nil && m.Data[0] == '"':
		e.Data = []byte(text)
	default:
		e.Data = m.Data
		if e.ContentType == "" {
			e.ContentType = mediaJSON
		}
	}
	return e, e.Validate()
}

func isJSON(contentType string) bool {
	kind, _, _ := mime.ParseMediaType(contentType)
	return kind == mediaJSON || strings.HasSuffix(kind, "+json")
}
