// Package wire holds the JSON shapes that the server and the client share: the
// envelope of an event, the page, the control members and the messages of the
// WebSocket subprotocol fairlead.v1.json. An envelope is
//
//	{"topic":"prices/eur","cursor":"0h…","type":"tick","key":"eur","content_type":"application/json",
//	 "time":"2026-01-02T03:04:05.6Z","traceparent":"00-…","attributes":{"source":"…"},"data":{"bid":1.09}}
//
// with members that have no value left out. JSON data stands as JSON, other
// text as a string, and bytes as "data_base64".
package wire
