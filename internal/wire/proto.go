package wire

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fairlead-edge/fairlead"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
)

// ToProto returns the event as a message, which shares its data and attributes.
func ToProto(e *fairlead.Event) *fairleadv1.Event {
	m := &fairleadv1.Event{
		Topic: e.Topic, Cursor: string(e.Cursor), Type: e.Type, Key: e.Key, ContentType: e.ContentType,
		Traceparent: e.Traceparent, Attributes: e.Attributes, Data: e.Data, Critical: e.Critical,
	}
	if !e.Time.IsZero() && HasYear(e.Time) { // no codec could read another one
		m.Time = timestamppb.New(e.Time)
	}
	return m
}

// FromProto returns the message as an event, which shares its data and attributes.
func FromProto(m *fairleadv1.Event) fairlead.Event {
	e := fairlead.Event{
		Topic: m.GetTopic(), Cursor: fairlead.Cursor(m.GetCursor()), Type: m.GetType(), Key: m.GetKey(), ContentType: m.GetContentType(),
		Traceparent: m.GetTraceparent(), Attributes: m.GetAttributes(), Data: m.GetData(), Critical: m.GetCritical(),
	}
	if at := m.GetTime(); at.IsValid() && at != nil {
		if e.Time = at.AsTime(); e.Time.IsZero() {
			e.Time = time.Time{}
		}
	}
	return e
}
