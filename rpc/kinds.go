package rpc

import (
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
)

// kindOfRequest is the kind of a client's message of a Session.
func kindOfRequest(m *fairleadv1.SessionRequest) string {
	switch m.GetAction().(type) {
	case *fairleadv1.SessionRequest_Subscribe_:
		return deliver.KindSubscribe
	case *fairleadv1.SessionRequest_Unsubscribe_:
		return deliver.KindUnsubscribe
	case *fairleadv1.SessionRequest_Publish:
		return deliver.KindPublish
	case *fairleadv1.SessionRequest_Ping_:
		return deliver.KindPing
	case *fairleadv1.SessionRequest_Acknowledge_:
		return deliver.KindAcknowledge
	case *fairleadv1.SessionRequest_Window_:
		return deliver.KindWindow
	}
	return deliver.KindMalformed
}

// kindOfResponse is the kind of a server's message of a Session, "" of an event.
func kindOfResponse(m *fairleadv1.SessionResponse) string {
	switch m.GetMessage().(type) {
	case *fairleadv1.SessionResponse_Event:
		return ""
	case *fairleadv1.SessionResponse_Ok_, *fairleadv1.SessionResponse_Error_:
		return deliver.KindAnswer
	case nil:
		return deliver.KindPing
	}
	return deliver.KindControl
}
