package deliver

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// query is what a reader's request asks for.
type query struct {
	topics    []string
	after     string // a cursor, a word, or a composite id; "": the transport's default
	envelope  bool   // format=envelope
	pings     bool   // heartbeat=event
	failOnGap bool   // gap=fail
	limit     int    // of a page
	wait      time.Duration

	fresh fairlead.Cursor // where a reader without a cursor starts
	batch int             // how many items are read while subscribing
}

const (
	defaultLimit = 100
	maxLimit     = 1000
	// maxStreamTopics keeps a composite id, 36 bytes a topic, well below the
	// 8 KiB that servers and proxies allow a header.
	maxStreamTopics = 100
	maxAfter        = 8 << 10
)

func (h *Handler) parseQuery(r *http.Request) (*query, error) {
	if hasBody(r) {
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "a GET of a topic has no body")
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "the query of the URL cannot be read: percent-encode its values")
	}
	q := &query{limit: defaultLimit, wait: preferredWait(r.Header), fresh: fairlead.Latest}
	if err := q.choose(values); err != nil {
		return nil, err
	}
	if q.failOnGap {
		q.batch = batch
	}
	if err := q.count(values); err != nil {
		return nil, err
	}
	if q.after, err = after(r.Header, values); err != nil {
		return nil, err
	}
	for _, name := range values["topic"] {
		if err := fairlead.CheckTopicName(name); err != nil {
			return nil, err
		}
		if !slices.Contains(q.topics, name) {
			q.topics = append(q.topics, name)
		}
		if most := min(h.cfg.MaxTopics, maxStreamTopics); len(q.topics) > most {
			return nil, fairlead.Errorf(fairlead.HeaderTooLarge,
				"one stream has at most %d topics, since its event ids name them all; use a WebSocket with the subprotocol %s for more", most, protocolJSON)
		}
	}
	return q, nil
}

// choose reads the parameters that are one word of a few.
func (q *query) choose(values url.Values) error {
	for _, p := range []struct {
		name, on string
		field    *bool
	}{{"format", "envelope", &q.envelope}, {"heartbeat", "event", &q.pings}, {"gap", "fail", &q.failOnGap}} {
		switch values.Get(p.name) {
		case "":
		case p.on:
			*p.field = true
		default:
			return fairlead.Errorf(fairlead.InvalidArgument, "the parameter %[1]s can be %[1]s=%[2]s, or be left out", p.name, p.on)
		}
	}
	return nil
}

// count reads the parameters that are numbers.
func (q *query) count(values url.Values) error {
	if v := values.Get("limit"); v != "" {
		n, err := number(v)
		if err != nil || n == 0 {
			return fairlead.Errorf(fairlead.InvalidArgument, "limit is a number of events from 1 to %d", maxLimit)
		}
		q.limit = min(int(n), maxLimit)
	}
	if v := values.Get("wait"); v != "" {
		n, err := number(v)
		if err != nil {
			return fairlead.Errorf(fairlead.InvalidArgument, "wait is a number of seconds, at most %d", int(maxWait.Seconds()))
		}
		q.wait = min(time.Duration(n)*time.Second, maxWait)
	}
	return nil
}

// after returns where to start. The header wins: EventSource keeps its first
// URL when it reconnects.
func after(h http.Header, values url.Values) (string, error) {
	id, err := single(h, "Last-Event-ID")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"after", "last_event_id"} {
		if id == "" {
			id = values.Get(name)
		}
	}
	if len(id) > maxAfter {
		return "", fairlead.Errorf(fairlead.HeaderTooLarge, "the cursor is %d bytes long; no id of this server is over %d", len(id), maxAfter)
	}
	return id, nil
}
