package client

import (
	"encoding/json"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
)

// envelope is an envelope as a reader takes it: what it says in passing does
// not keep its data from being read.
type envelope struct {
	wire.Envelope
	Time lenientTime `json:"time"`
}

// item returns the event that the envelope carries. One that is JSON and yet
// no envelope, for which err is the reason, is an event with its text as data:
// the reader goes on after it, and nothing is left out in silence.
func (v *envelope) item(text []byte, err error) Item {
	if err != nil {
		return Item{Cursor: v.Cursor, Event: fairlead.Event{Topic: v.Topic, Cursor: v.Cursor, Type: v.Type, Data: text}}
	}
	e := v.Event()
	e.Time = v.Time.Time
	return Item{Cursor: v.Cursor, Event: e, Skipped: v.Skipped}
}

// readEnvelope makes an item of what should be an envelope.
func readEnvelope(text []byte) Item {
	var v envelope
	err := json.Unmarshal(text, &v)
	return v.item(text, err)
}

// lenientTime is zero when it cannot be read.
type lenientTime struct{ time.Time }

// UnmarshalJSON never fails.
func (t *lenientTime) UnmarshalJSON(b []byte) error {
	if t.Time.UnmarshalJSON(b) != nil {
		t.Time = time.Time{}
	}
	return nil
}
